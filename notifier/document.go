package notifier

// DocumentKind is what a document is, as citizens call it: never the exam.
type DocumentKind string

// The kinds, after the types of referti of the FSE (reference fse.md, 2).
const (
	SomeDocument    DocumentKind = "" // the kind is not said
	Report          DocumentKind = "report"
	Laboratory      DocumentKind = "laboratory"
	Radiology       DocumentKind = "radiology"
	Pathology       DocumentKind = "pathology"
	Outpatient      DocumentKind = "outpatient"
	Televisit       DocumentKind = "televisit"
	Teleconsultancy DocumentKind = "teleconsultancy"
)

// in is the kind in a language; Italian where there are no words in it.
func (k DocumentKind) in(language string) string {
	words, has := kindWords[language]
	if !has {
		words = kindWords[fallback]
	}
	return words[k]
}

var kindWords = map[string]map[DocumentKind]string{
	"it": {
		SomeDocument: "Documento", Report: "Referto", Laboratory: "Referto di laboratorio", Radiology: "Referto di radiologia",
		Pathology: "Referto di anatomia patologica", Outpatient: "Referto di visita specialistica",
		Televisit: "Referto di televisita", Teleconsultancy: "Referto di teleconsulto",
	},
	"en": {
		SomeDocument: "Document", Report: "Report", Laboratory: "Laboratory report", Radiology: "Radiology report",
		Pathology: "Pathology report", Outpatient: "Specialist visit report", Televisit: "Report of a video visit",
		Teleconsultancy: "Report of a remote consultation",
	},
	"de": {
		SomeDocument: "Dokument", Report: "Befund", Laboratory: "Laborbefund", Radiology: "Radiologischer Befund",
		Pathology: "Pathologischer Befund", Outpatient: "Fachärztlicher Befund", Televisit: "Befund einer Videovisite",
		Teleconsultancy: "Befund eines Telekonsils",
	},
	"es": {
		SomeDocument: "Documento", Report: "Informe", Laboratory: "Informe de laboratorio", Radiology: "Informe de radiología",
		Pathology: "Informe de anatomía patológica", Outpatient: "Informe de visita especializada",
		Televisit: "Informe de televisita", Teleconsultancy: "Informe de teleconsulta",
	},
	"fr": {
		SomeDocument: "Document", Report: "Compte rendu", Laboratory: "Compte rendu de laboratoire", Radiology: "Compte rendu de radiologie",
		Pathology: "Compte rendu d’anatomie pathologique", Outpatient: "Compte rendu de visite spécialisée",
		Televisit: "Compte rendu de télévisite", Teleconsultancy: "Compte rendu de télé-expertise",
	},
}
