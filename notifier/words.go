package notifier

// words are what a text in a language does not say (reference io.md, 7, the manual's style rules and the list of
// sensitive data; reference fse.md, 5.5). No list is complete: they catch what is often written, not everything.
type words struct {
	notification []string // IO sends messages
	openings     []string // at the beginning of the text
	spatial      []string
	formulas     []string
	formal       []string // forms of courtesy, where the manual wants others: it speaks of Italian
	telling      []string // exam, ward, doctor, facility, outcome
	report       []string // what the wording novita avoids
}

var wordsOf = map[string]words{
	"it": {
		notification: []string{"notific*"},
		openings:     []string{"gentile", "gentilissimo", "gentilissima", "egregio", "egregia", "spettabile", "caro", "cara"},
		spatial: []string{
			"qui sotto", "qui sopra", "qua sotto", "qua sopra", "di seguito", "in basso", "in alto", "a fianco", "a lato", "a destra",
			"a sinistra", "sottostante", "soprastante", "in calce",
		},
		formulas: []string{
			"si comunica", "si informa", "si prega", "si invita", "si avvisa", "si avverte", "con la presente", "la presente",
			"ai sensi", "in oggetto", "la informiamo", "la invitiamo", "le comunichiamo", "suddett*", "sopracitat*", "summenzionat*",
			"cordiali saluti", "distinti saluti", "codest*",
		},
		// The third person to whom one speaks. What is also said of somebody else, or of a thing, is not here.
		formal: []string{
			"lei", "suo", "sua", "suoi", "sue", "acceda", "apra", "clicchi", "legga", "prema", "scelga", "vada", "si rivolga",
			"la preghiamo", "la avvisiamo", "la ringraziamo", "le abbiamo scritto", "le avevamo scritto", "le ricordiamo", "le scriviamo",
		},
		telling: []string{
			"ospedal*", "clinic*", "ambulatori*", "repart*", "laboratori*", "radiolog*", "cardiolog*", "oncolog*", "psichiatr*",
			"ginecolog*", "istolog*", "esame", "esami", "analisi", "prelievo", "tampone", "ecografi*", "risonanza", "radiografi*",
			"biopsi*", "diagnos*", "esito", "esiti", "positiv*", "negativ*", "dott", "dottor*", "prof", "professor*", "primario", "asl", "ausl", "asst", "ulss",
		},
		report: []string{"refert*"},
	},
	"en": {
		notification: []string{"notification*"},
		openings:     []string{"dear"},
		spatial:      []string{"below", "above", "underneath", "on the left", "on the right", "at the top", "at the bottom"},
		formulas: []string{
			"please be advised", "hereby", "herewith", "kindly", "pursuant", "we wish to inform", "we would like to inform",
			"yours sincerely", "best regards", "kind regards",
		},
		telling: []string{
			"hospital*", "clinic", "clinics", "ward", "wards", "laborator*", "lab", "radiolog*", "cardiolog*", "oncolog*", "psychiatr*",
			"exam", "exams", "examination*", "test", "tests", "scan", "scans", "x-ray*", "biops*", "diagnos*", "outcome*", "positive",
			"negative", "dr", "prof", "professor*",
		},
		report: []string{"report", "reports"},
	},
	"de": {
		notification: []string{"benachrichtigung*"},
		openings:     []string{"sehr geehrte", "sehr geehrter", "geehrte", "geehrter", "liebe", "lieber", "werte", "werter"},
		spatial: []string{
			"unten", "oben", "untenstehend*", "nachstehend*", "nebenstehend*", "nachfolgend*", "links", "rechts",
		},
		formulas: []string{
			"hiermit", "gemäß", "bezüglich", "diesbezüglich", "wir teilen ihnen mit", "freundlichen grüßen", "hochachtungsvoll",
		},
		telling: []string{
			"krankenhaus*", "klinik*", "abteilung*", "labor*", "ambulatori*", "radiolog*", "kardiolog*", "onkolog*", "psychiatri*",
			"untersuchung*", "blutabnahme*", "biopsi*", "diagnos*", "ergebnis*", "positiv*", "negativ*", "dr", "prof", "professor*", "primar*",
		},
		report: []string{"befund*"},
	},
	"es": {
		notification: []string{"notificaci*"},
		openings:     []string{"estimado", "estimada", "querido", "querida", "apreciado", "apreciada"},
		spatial:      []string{"abajo", "arriba", "a continuación", "a la derecha", "a la izquierda", "al pie"},
		formulas: []string{
			"por la presente", "se comunica", "se informa", "se ruega", "de conformidad", "atentamente", "saludos cordiales", "le informamos",
		},
		telling: []string{
			"hospital*", "clínica*", "ambulatori*", "laboratori*", "radiolog*", "cardiolog*", "oncolog*", "psiquiatr*", "examen",
			"exámenes", "análisis", "prueba", "pruebas", "biopsia*", "diagnóstic*", "resultado*", "positiv*", "negativ*", "dr", "dra", "prof",
			"profesor*", //nolint:misspell // Spanish
		},
		report: []string{"informe", "informes"},
	},
	"fr": {
		notification: []string{"notification*"},
		openings:     []string{"cher", "chère", "chers", "chères", "madame", "monsieur"},
		spatial:      []string{"ci-dessous", "ci-dessus", "ci-après", "ci-contre", "en bas", "en haut", "à droite", "à gauche"},
		formulas: []string{
			"par la présente", "nous vous informons", "veuillez agréer", "conformément", "cordialement", "salutations", "susmentionné*",
		},
		telling: []string{
			"hôpita*", "clinique*", "ambulatoire*", "laboratoire*", "radiolog*", "cardiolog*", "oncolog*", "psychiatri*", "examen*",
			"analyse*", "biopsie*", "diagnosti*", "résultat*", "positif*", "négatif*", "dr", "pr", "prof", "professeur*",
		},
		report: []string{"compte rendu", "comptes rendus", "compte-rendu", "comptes-rendus", "rapport", "rapports"},
	},
}
