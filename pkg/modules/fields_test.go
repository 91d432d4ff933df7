package modules

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/k8sp/cuda/internal/docs"
)

// TestFieldsPage has the page of the manifest list the fields that its schema has.
func TestFieldsPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node // JSON is YAML, and here it keeps its order
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	s := schemaPage{defs: field(doc.Content[0], "$defs")}
	s.b.WriteString("| field | type | |\n|---|---|---|\n")
	s.rows("", field(s.defs, "Manifest"))
	docs.Section(t, "docs/manifest.md", "fields", s.b.String())
}

// schemaPage writes a table of a schema's fields.
type schemaPage struct {
	defs *yaml.Node
	b    strings.Builder
}

// rows are those of an object, whose fields' names begin with prefix.
func (s *schemaPage) rows(prefix string, object *yaml.Node) {
	var required []string
	if list := field(object, "required"); list != nil {
		_ = list.Decode(&required)
	}
	properties := field(object, "properties")
	for i := 0; i < len(properties.Content); i += 2 {
		name, of := properties.Content[i].Value, properties.Content[i+1]
		says, kind := s.word(of, "description"), s.kind(of)
		if !slices.Contains(required, name) {
			kind += ", optional"
		}
		fmt.Fprintf(&s.b, "| `%s%s` | %s | %s |\n", prefix, name, kind, strings.ReplaceAll(says, "|", `\|`))
		of = s.resolved(of)
		if items := field(of, "items"); items != nil {
			name, of = name+"[]", s.resolved(items)
		}
		if field(of, "properties") != nil {
			s.rows(prefix+name+".", of)
		}
	}
}

// resolved is a schema, or the definition that it refers to.
func (s *schemaPage) resolved(of *yaml.Node) *yaml.Node {
	if to := field(of, "$ref"); to != nil {
		return field(s.defs, strings.TrimPrefix(to.Value, "#/$defs/"))
	}
	return of
}

// word is a schema's value of a key, or that of the definition that it refers to.
func (s *schemaPage) word(of *yaml.Node, key string) string {
	for _, at := range []*yaml.Node{of, s.resolved(of)} {
		if value := field(at, key); value != nil {
			return value.Value
		}
	}
	return ""
}

// kind is what a reader would call a schema's type.
func (s *schemaPage) kind(of *yaml.Node) string {
	of = s.resolved(of)
	if values := field(of, "enum"); values != nil {
		var list []string
		_ = values.Decode(&list)
		return "`" + strings.Join(list, "`, `") + "`"
	}
	if value := field(of, "const"); value != nil {
		return "`" + value.Value + "`"
	}
	kind := s.word(of, "type")
	if items := field(of, "items"); items != nil {
		return "list of " + s.kind(items) + "s"
	}
	if pattern := field(of, "pattern"); pattern != nil && strings.Contains(pattern.Value, "sha256:") {
		return "`sha256:…`"
	}
	return kind
}

// field is the value of a mapping's key; nil where there is none.
func field(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}
