package notifier

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Wording is one of the sets of texts that ship with Staffetta: an institution's privacy officer chooses.
type Wording string

// The wordings. Referto follows IO's model and says that there is a report; Novita never does, after a strict reading of
// DM 7.9.2023 art. 22 c. 3 (reference fse.md, 5.5).
const (
	Referto Wording = "referto"
	Novita  Wording = "novita"
)

// violations is all that a configured text does that IO, its app or its manual do not allow: where, and what is wanted.
type violations []string

// Error has one violation a line. It names rules and words of ours, never what was written.
func (v violations) Error() string { return strings.Join(v, "\n") }

func (v *violations) add(where, says string) {
	if line := where + ": " + says; !slices.Contains(*v, line) {
		*v = append(*v, line)
	}
}

func (v violations) sort() { slices.Sort(v) }

// err is nil where nothing was found.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// rule is what a machine can check of reference io.md, 3, 4 and 7, in one line of a text.
type rule struct {
	says   string
	broken func(line string) bool
}

// everywhere are the rules for titles, texts and buttons alike.
var everywhere = []rule{
	{"holds a control character, an invisible one or a letter in pieces, want plain text (NFC)", hasUnfit},
	{"holds an emoji or a symbol, want words", hasEmoji},
	{"shouts (!), want a calm sentence", func(line string) bool { return strings.ContainsAny(line, "!¡") }},
	{"shouts (a word in capitals), want sentence case; acronyms have up to four letters", hasCapitals},
	{"holds raw HTML, want Markdown", html.MatchString},
}

// ofPlain are the rules for what the app does not read as Markdown: titles and buttons.
var ofPlain = []rule{
	{"holds Markdown, want plain text", func(line string) bool { return strings.ContainsAny(line, "*_`[]#|~") }},
	{"want a capital letter first", func(line string) bool { return line != "" && !beginsWithCapital(line) }},
	{"holds a number: a date or an id may be personal", func(line string) bool { return strings.ContainsFunc(line, unicode.IsDigit) }},
}

// ofBody are the rules for texts.
var ofBody = []rule{
	{"is a rule (---), which cuts the text that IO forwards by e-mail", isRule},
	{"holds an image: the phone would fetch it, and tell its server", image.MatchString},
	{"begins a table, which the app does not draw", func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "|") }},
	{"holds a link that the app does not follow from a text, want https, mailto or tel", hasOddLink},
	{"holds a number outside of a link: a date or an id may be personal", hasNumber},
}

var (
	html     = regexp.MustCompile(`<[A-Za-z/!?]`)
	image    = regexp.MustCompile(`!\[`)
	link     = regexp.MustCompile(`\]\(\s*([^)\s]*)|([A-Za-z][A-Za-z0-9+.-]*)://`)
	linkable = regexp.MustCompile(`^(https://|mailto:|tel:)`)
	// unread is where a number says nothing of a person: a link with its text, an address in clear, a place in a list.
	unread = regexp.MustCompile(`\[[^\]]*\]\([^)]*\)|(?:https://|mailto:|tel:)[^\s>]*|^\s*\d+[.)]\s`)
)

// courtesy is an Italian sentence that begins with what its reader can do, and calls that reader by no name.
var courtesy = regexp.MustCompile(`(?:^|[.:;]|\b(?:ora|adesso))[\s*_#>]*(?:può|potrà)\s+(?:acced|apr|consult|entr|legg|scaric|trov|ved|visualizz)`)

func hasNumber(line string) bool {
	return strings.ContainsFunc(unread.ReplaceAllString(line, ""), unicode.IsDigit)
}

func hasUnfit(line string) bool {
	return !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Mn, unicode.Zl, unicode.Zp) || r == utf8.RuneError
	})
}

func hasEmoji(line string) bool {
	return strings.ContainsFunc(line, func(r rune) bool {
		return r >= 0x2000 && unicode.In(r, unicode.So, unicode.Sk) || r >= 0x1f000 // © and ° are words of a kind
	})
}

const longestAcronym = 4

func hasCapitals(line string) bool {
	return slices.ContainsFunc(wordsIn(line), func(w string) bool {
		return utf8.RuneCountInString(w) > longestAcronym && inCapitals(w)
	})
}

func inCapitals(w string) bool { return w == strings.ToUpper(w) && w != strings.ToLower(w) }

func wordsIn(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) })
}

func beginsWithCapital(line string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimLeft(line, `"'«“¿`))
	return unicode.IsUpper(r)
}

// isRule is a line of three or more of the same mark, with or without blanks between them; also what makes the line
// above it a heading.
func isRule(line string) bool {
	marks := strings.ReplaceAll(strings.TrimSpace(line), " ", "")
	for _, mark := range []string{"-", "*", "_", "="} {
		if len(marks) >= 2 && strings.Trim(marks, mark) == "" {
			return true
		}
	}
	return false
}

func hasOddLink(line string) bool {
	for _, found := range link.FindAllStringSubmatch(line, -1) {
		if to := found[1]; to != "" && !linkable.MatchString(to) {
			return true
		}
		if scheme := found[2]; scheme != "" && scheme != "https" {
			return true
		}
	}
	return false
}

// rulesOfTitle are for the first line of a text.
func rulesOfTitle(language string, wording Wording) []rule {
	return slices.Concat(everywhere, ofPlain, wordRules(language, wording), []rule{
		says(wordsOf[language].notification, "says that it is a notification: IO sends messages"),
	})
}

// rulesOfBody are for every other line.
func rulesOfBody(language string, wording Wording) []rule {
	w := wordsOf[language]
	return slices.Concat(everywhere, ofBody, wordRules(language, wording), []rule{
		says(w.spatial, "says where something stands on the page: every phone shows it elsewhere"),
		says(w.formulas, "is bureaucratic, want everyday words"),
	})
}

// rulesOfButton are for the text of a button.
func rulesOfButton(language string, wording Wording) []rule {
	const longest = 40
	return slices.Concat(everywhere, ofPlain, wordRules(language, wording), []rule{
		{"want 1 to 40 characters, a verb first", func(text string) bool { return strings.TrimSpace(text) == "" || units(text) > longest }},
	})
}

// wordRules keep a text neutral: what it may not name, and what the stricter wording does not say.
func wordRules(language string, wording Wording) []rule {
	w := wordsOf[language]
	rules := []rule{says(w.telling, "names an exam, a place, a doctor or an outcome: a message that IO keeps is neutral")}
	if len(w.formal) > 0 {
		const want = "speaks as to a stranger (Lei, Suo), want tu"
		rules = append(rules, says(w.formal, want), rule{want, func(line string) bool { return courtesy.MatchString(strings.ToLower(line)) }})
	}
	if wording == Novita {
		rules = append(rules, says(w.report, "says that it is about a report, which message.wording novita never does"))
	}
	return rules
}

// says is a rule against words; one that ends in * stands for all that begin with it.
func says(words []string, text string) rule {
	return rule{text, func(line string) bool {
		line = strings.ToLower(line)
		return slices.ContainsFunc(words, func(w string) bool {
			stem, open := strings.CutSuffix(w, "*")
			return holdsWord(line, stem, open)
		})
	}}
}

// holdsWord looks for a word that is not a part of a longer one; open lets it have any ending.
func holdsWord(line, word string, open bool) bool {
	for {
		before, after, found := strings.Cut(line, word)
		if !found {
			return false
		}
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if !unicode.IsLetter(last) && (open || !unicode.IsLetter(next)) {
			return true
		}
		_, first := utf8.DecodeRuneInString(word)
		line = line[len(before)+first:]
	}
}

// opening is a rule for the first line of a text.
func opening(language string) rule {
	words := wordsOf[language].openings
	return rule{"begins with a salutation, want the news first", func(line string) bool {
		line = strings.ToLower(strings.TrimLeft(line, " *_#>"))
		return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) && holdsWord(line, w, false) })
	}}
}

// acronyms looks for one that is not explained where it is used first: there it stands in brackets, after its words.
type acronyms struct{ seen map[string]bool }

var brackets = regexp.MustCompile(`\([^()]*\)`)

// unexplained reads the next line of the text.
func (a *acronyms) unexplained(line string) bool {
	if a.seen == nil {
		a.seen = map[string]bool{"IO": true}
	}
	for _, inside := range brackets.FindAllString(line, -1) {
		for _, w := range wordsIn(inside) {
			a.seen[w] = true
		}
	}
	return slices.ContainsFunc(wordsIn(line), func(w string) bool {
		n := utf8.RuneCountInString(w)
		return n >= 2 && n <= longestAcronym && inCapitals(w) && !a.seen[w]
	})
}

const saysUnexplained = "holds an acronym that is not explained where it is used first: want its words, then (FSE)"
