package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// inLines says what YAML found wrong, one line each: the line, the key, and what is wanted, without the values that YAML
// would repeat: one may be a secret at the wrong place.
func inLines(text []byte, err error) error {
	several, ok := errors.AsType[*yaml.LoadErrors](err)
	if !ok {
		one, ok := errors.AsType[*yaml.LoadError](err)
		if !ok {
			return errors.New("not YAML") // whatever it says may hold a value
		}
		several = &yaml.LoadErrors{Errors: []*yaml.LoadError{one}}
	}
	keys := keysOf(text)
	m := make(mistakes, len(several.Errors))
	for i, one := range several.Errors {
		m[i] = keys.inLine(one)
	}
	return m
}

// rejected is how the YAML library says that a value does not fit, with the value.
var rejected = regexp.MustCompile("(?s)^cannot construct !!(\\w+)(?: `.*`)? (?:into|as a) (.+)$")

// yamlWords are YAML's types in words.
var yamlWords = map[string]string{
	"str": "a text", "seq": "a list", "map": "a mapping", "int": "a number", "float": "a number", "bool": "true or false",
}

// goWords are the types of our fields in words; what is not here is a mapping.
var goWords = map[string]string{
	"int": "a whole number", "float64": "a number", "bool": "true or false", "string": "a text", "config.Secret": "a text",
}

// wanted is a type of Go, or a tag of YAML, in words.
func wanted(of string) string {
	if tag, ok := strings.CutPrefix(of, "!!"); ok {
		return cmp.Or(yamlWords[tag], "another value")
	}
	if strings.HasPrefix(of, "[]") {
		return "a list"
	}
	return cmp.Or(goWords[strings.TrimPrefix(of, "*")], "a mapping")
}

// unknown is how the YAML library says that there is no such key.
var unknown = regexp.MustCompile(`(?s)^field (.+) not found in type config\.(\w+)$`)

// Hints for keys that people look for.
const (
	alwaysSecure = "secure channels are required by every message, and nothing can turn that off: remove the key, and set the service's own flag"
	onlyItAndEn  = "IO's app reads buttons in it and en only: readers of other languages see the Italian text"
)

var hints = map[string]string{
	"require_secure_channels": alwaysSecure, "require_secure_channel": alwaysSecure, "secure_channels": alwaysSecure,
	"ButtonText.de": onlyItAndEn, "ButtonText.es": onlyItAndEn, "ButtonText.fr": onlyItAndEn, "ButtonText.sl": onlyItAndEn,
}

// keyPaths are the keys of a file, by where their values begin (of the key "", of the mapping that a key stands in).
type keyPaths struct{ values, mappings map[place]string }

type place struct{ line, column int }

// keysOf reads a file again, which YAML has refused; it knows no keys where the file is no YAML at all.
func keysOf(text []byte) keyPaths {
	k := keyPaths{values: map[place]string{}, mappings: map[place]string{}}
	var file yaml.Node
	if err := yaml.Load(text, &file); err == nil {
		k.walk(&file, "")
	}
	return k
}

func (k keyPaths) walk(node *yaml.Node, path string) {
	at := place{node.Line, node.Column}
	if _, taken := k.values[at]; !taken { // a block mapping begins where its first key does
		k.values[at] = path
	}
	switch node.Kind {
	case yaml.DocumentNode:
		k.walk(node.Content[0], path)
	case yaml.SequenceNode:
		for i, one := range node.Content {
			k.walk(one, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			k.mappings[place{key.Line, key.Column}] = path
			k.walk(value, strings.TrimPrefix(path+"."+key.Value, "."))
		}
	case yaml.ScalarNode, yaml.AliasNode, yaml.StreamNode: // an alias is at fault where its anchor is
	}
}

func (k keyPaths) inLine(err *yaml.LoadError) string {
	text := strings.TrimPrefix(err.Message, "yaml: ")
	at := place{err.Mark.Line, err.Mark.Column}
	if found := unknown.FindStringSubmatch(text); found != nil {
		text = k.unknownKey(found[1], found[2], at)
	} else {
		if found := rejected.FindStringSubmatch(text); found != nil {
			text = fmt.Sprintf("want %s, not %s", wanted(found[2]), cmp.Or(yamlWords[found[1]], "this"))
		}
		if path := k.values[at]; path != "" && !strings.Contains(text, "mapping key") {
			text = path + ": " + text
		}
	}
	if at.line == 0 {
		return text
	}
	return fmt.Sprintf("line %d: %s", at.line, text)
}

// unknownKey names a key that a mapping does not have, and what may help.
func (k keyPaths) unknownKey(key, mapping string, at place) string {
	text := fmt.Sprintf("unknown key %q", key)
	if path := k.mappings[at]; path != "" {
		text += " in " + path
	}
	if hint := cmp.Or(hints[key], hints[mapping+"."+key]); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}
