package notifier

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

//go:embed templates
var shipped embed.FS

// Words is all that a template can put into its text, beside what stands in it. It is filled at start, before any
// document is known: no exam, ward, doctor, facility, date or person can get in (DM 7.9.2023 art. 22: the notice contains
// no personal data).
type Words struct {
	OldTitle     string // the title of the published message in the same language: what a correction corrects
	Button       string // the text of the first button, as the app shows it to readers of the template's language
	SecondButton string // the same of the second button; "" where there is none
	SSO          bool   // the first button signs the citizen in
}

// publications are the messages that IO keeps, one template each for every language.
var publications = []string{published, updated, withdrawn}

const published, updated, withdrawn = "published", "updated", "withdrawn"

// isCorrection says whether a message corrects an earlier one, in the manual's form: Errata corrige and the old title.
func isCorrection(name string) bool { return name == updated || name == withdrawn }

// reach is what a template of each name can put into its text, by its type.
var reach = map[string]reflect.Type{
	published: reflect.TypeFor[Words](), updated: reflect.TypeFor[Words](), withdrawn: reflect.TypeFor[Words](),
	details: reflect.TypeFor[Details](), unavailable: reflect.TypeFor[Opened](), precondition: reflect.TypeFor[Opened](),
}

// source is one template file: a title (# ...), an empty line, and a text.
type source struct {
	name, language string
	path           string // as people find it
	override       bool   // it stands in for a shipped one
	lines          []string
	parsed         *template.Template
}

var fileName = regexp.MustCompile(`^(published|updated|withdrawn|details|unavailable|precondition)\.([a-z]{2})\.md$`)

// texts are templates by language and name.
type texts map[string]map[string]source

// inOrder are all templates, for messages that come in the same order every time.
func (t texts) inOrder() []source {
	var all []source
	for _, language := range slices.Sorted(maps.Keys(t)) {
		for _, name := range slices.Concat(publications, openings) {
			if s, has := t[language][name]; has {
				all = append(all, s)
			}
		}
	}
	return all
}

// only are those of some names, of the languages that have any.
func (t texts) only(names []string) texts {
	some := texts{}
	for _, s := range t.inOrder() {
		if slices.Contains(names, s.name) {
			some.put(s)
		}
	}
	return some
}

func (t texts) put(s source) {
	if t[s.language] == nil {
		t[s.language] = map[string]source{}
	}
	t[s.language][s.name] = s
}

// readTexts reads the shipped texts of a wording and those of remote content, and over them what the institution's folder
// holds.
func readTexts(wording Wording, folder string) (texts, violations) {
	var v violations
	all := texts{}
	for _, home := range []string{path.Join("templates", string(wording)), "templates/remote"} {
		ours, err := fs.Sub(shipped, home)
		if err != nil {
			return nil, violations{err.Error()}
		}
		v = append(v, all.add(ours, home, false)...)
	}
	if folder != "" {
		v = append(v, all.add(os.DirFS(folder), folder, true)...)
	}
	v = append(v, all.only(publications).missing(publications)...)
	return all, append(v, all.only(openings).missing(openings)...)
}

// add takes the files of a folder in, over what was there.
func (t texts) add(files fs.FS, folder string, override bool) violations {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return violations{folder + ": the folder cannot be read"}
	}
	var v violations
	for _, entry := range entries {
		if path.Ext(entry.Name()) != ".md" {
			continue
		}
		s, err := readSource(files, folder, entry.Name())
		if err != nil {
			v = append(v, err.Error())
			continue
		}
		s.override = override
		t.put(s)
	}
	return v
}

func readSource(files fs.FS, folder, name string) (source, error) {
	s := source{path: filepath.Join(folder, name)}
	parts := fileName.FindStringSubmatch(name)
	if parts == nil {
		return s, fmt.Errorf("%s: want a name such as published.it.md: published, updated, withdrawn, details, unavailable or precondition, and a language of two letters", s.path)
	}
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return s, fmt.Errorf("%s: cannot be read", s.path)
	}
	s.name, s.language = parts[1], parts[2]
	return s, s.parse(string(text))
}

// missing names what a language lacks: it has all of the names, or none.
func (t texts) missing(names []string) (v violations) {
	for _, language := range slices.Sorted(maps.Keys(t)) {
		for _, name := range names {
			if _, has := t[language][name]; !has {
				v = append(v, fmt.Sprintf("message.templates: no %s.%s.md, but the language has another message: want all of them", name, language))
			}
		}
	}
	return v
}

// parse reads the template: of the template language it takes if, and the fields that its name can reach.
func (s *source) parse(text string) error {
	text = strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n"), "\n") + "\n"
	s.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasPrefix(s.lines[0], "# ") || len(s.lines) < 3 || strings.TrimSpace(s.lines[1]) != "" {
		return fmt.Errorf("%s:1: want a title (# ...), an empty line and a text", s.path)
	}
	parsed, err := template.New(s.path).Parse(text)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	s.parsed = parsed
	if len(parsed.Templates()) > 1 {
		return fmt.Errorf("%s: want no define and no block", s.path)
	}
	return s.plain(parsed.Root)
}

// plain says whether a part of a template is text, a field within reach, or an if over such fields. There is no function that
// could make one text of another.
func (s *source) plain(node parse.Node) error {
	switch n := node.(type) {
	case *parse.ListNode:
		for _, part := range n.Nodes {
			if err := s.plain(part); err != nil {
				return err
			}
		}
		return nil
	case *parse.TextNode:
		return nil
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 && len(n.Pipe.Cmds) == 1 && len(n.Pipe.Cmds[0].Args) == 1 && s.isWord(n.Pipe.Cmds[0].Args[0]) {
			return nil
		}
	case *parse.IfNode:
		if !s.isCondition(n.Pipe) {
			break
		}
		if err := s.plain(n.List); err != nil || n.ElseList == nil {
			return err
		}
		return s.plain(n.ElseList)
	}
	location, _ := s.parsed.ErrorContext(node)
	return fmt.Errorf("%s: want nothing but text, %s, and {{if .SSO}} or {{if not .SSO}} with {{else}} and {{end}}", location, s.within())
}

// within names what the template can reach, for people.
func (s *source) within() string {
	var names []string
	for _, field := range reflect.VisibleFields(reach[s.name]) {
		if field.Type.Kind() == reflect.String {
			names = append(names, "{{."+field.Name+"}}")
		}
	}
	return strings.Join(names, ", ")
}

func (s *source) isWord(node parse.Node) bool {
	field, is := node.(*parse.FieldNode)
	if !is || len(field.Ident) != 1 {
		return false
	}
	_, known := reach[s.name].FieldByName(field.Ident[0])
	return known
}

// isCondition is a field, or not, and, or over such conditions.
func (s *source) isCondition(node parse.Node) bool {
	pipe, is := node.(*parse.PipeNode)
	if !is {
		return s.isWord(node)
	}
	if len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 {
		return false
	}
	args := pipe.Cmds[0].Args
	if function, named := args[0].(*parse.IdentifierNode); named {
		return slices.Contains([]string{"not", "and", "or"}, function.Ident) && len(args) > 1 && !slices.ContainsFunc(args[1:], s.isNoCondition)
	}
	return len(args) == 1 && s.isCondition(args[0])
}

func (s *source) isNoCondition(node parse.Node) bool { return !s.isCondition(node) }

var (
	steering = regexp.MustCompile(`\{\{-?\s*(?:if|else|end)\b[^}]*\}\}`)
	value    = regexp.MustCompile(`\{\{[^}]*\}\}`)
)

// check holds every line of the file against the rules. What stands in for a field is checked where it comes from.
func (s *source) check(wording Wording) violations {
	var v violations
	lines := make([]string, len(s.lines))
	for i, line := range s.lines {
		lines[i] = value.ReplaceAllString(steering.ReplaceAllString(line, ""), "Staffetta")
	}
	lines[0] = strings.TrimPrefix(lines[0], "# ")
	checkLines(lines, s.language, wording, func(line int, says string) { v.add(fmt.Sprintf("%s:%d", s.path, line+1), says) })
	return v
}

// checkLines holds a title and the lines of a text against the rules.
func checkLines(lines []string, language string, wording Wording, found func(line int, says string)) {
	body, first, explained := rulesOfBody(language, wording), opening(language), acronyms{}
	for i, line := range lines {
		rules := body
		if i == 0 {
			rules = rulesOfTitle(language, wording)
		}
		for _, rule := range rules {
			if rule.broken(line) {
				found(i, rule.says)
			}
		}
		if i == 0 || strings.TrimSpace(line) == "" {
			continue
		}
		if first.broken != nil && first.broken(line) {
			found(i, first.says)
		}
		first.broken = nil
		if explained.unexplained(line) {
			found(i, saysUnexplained)
		}
	}
}

// render fills the template in, with a value of the type that it can reach.
func (s *source) render(w any) (rendered, error) {
	var text strings.Builder
	if err := s.parsed.Execute(&text, w); err != nil {
		return rendered{}, fmt.Errorf("%s: %w", s.path, err)
	}
	title, body, _ := strings.Cut(text.String(), "\n")
	return rendered{strings.TrimPrefix(title, "# "), strings.Trim(body, "\n") + "\n"}, nil
}
