package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Object reads a JSON object as maps, lists and scalars, numbers as they are written ([json.Number]), for who must move
// parts of it before [Unmarshal]. What is no object or has a name twice is refused as *[Violations].
func Object(body []byte) (map[string]any, error) {
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	value, err := tree(d, "")
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, Broken("", "%s", Field{}.Wanted())
	}
	return object, nil
}

func tree(d *json.Decoder, path string) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return object(d, path)
	case json.Delim('['):
		return list(d, path)
	}
	return token, nil
}

func object(d *json.Decoder, path string) (any, error) {
	fields := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		at := join(path, Shown(name))
		if _, twice := fields[name]; twice {
			return nil, Broken(at, "is there twice")
		}
		if fields[name], err = tree(d, at); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return fields, err
}

func list(d *json.Decoder, path string) (any, error) {
	items := []any{}
	for d.More() {
		item, err := tree(d, join(path, fmt.Sprintf("[%d]", len(items))))
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, err := d.Token()
	return items, err
}
