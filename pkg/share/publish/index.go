package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// EncodeIndex is an index in JSON, as people read it: indented, with a line's end
// and with no character replaced for the sake of HTML. The same value gives the
// same bytes.
func EncodeIndex(index any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(index); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// SchemaError is an index of another format than this builder's.
type SchemaError struct{ Has, Reads int }

// Error says which.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("a manifest of schema %d, and this builder reads %d", e.Has, e.Reads)
}

// DecodeIndex reads what [EncodeIndex] wrote into index. It refuses more than
// limit bytes, and with a [SchemaError] any other format than the number schema that
// the text has as its "schema": a later one means something else by the same words.
func DecodeIndex(r io.Reader, limit int64, schema int, index any) error {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("a manifest of more than %d MiB", limit>>20)
	}
	var format struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return fmt.Errorf("not a manifest: %w", err)
	}
	if format.Schema != schema {
		return &SchemaError{format.Schema, schema}
	}
	if err := json.Unmarshal(data, index); err != nil {
		return fmt.Errorf("not a manifest: %w", err)
	}
	return nil
}
