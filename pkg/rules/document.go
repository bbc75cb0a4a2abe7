package rules

import (
	"errors"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// position is a line and a column of the file, both from 1; columns count characters.
type position struct{ line, column int }

func positionOf(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

// linesOf cuts a file into its lines, as locate wants them.
func linesOf(source string) [][]rune {
	var lines [][]rune
	for line := range strings.SplitSeq(source, "\n") {
		lines = append(lines, []rune(line))
	}
	return lines
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    position
	value ast.Node
}

// parseYAML gives the top of the only document in source; nil where there is none. The position is that of the error.
func parseYAML(source string) (ast.Node, position, error) {
	file, err := parser.ParseBytes([]byte(source), 0)
	var syntax *yaml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, positionOf(syntax.Token), errors.New(syntax.Message)
	case err != nil:
		return nil, position{1, 1}, err
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return nil, position{1, 1}, nil
	case len(file.Docs) > 1:
		return nil, positionOf(file.Docs[1].Start), errors.New("a second document begins here; a rules file is one")
	}
	return file.Docs[0].Body, position{1, 1}, nil
}

// entries gives the keys of a mapping in order; false where n is no mapping.
func entries(n ast.Node) ([]entry, bool) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	list := make([]entry, len(pairs))
	for i, p := range pairs {
		list[i] = entry{p.Key.GetToken().Value, positionOf(p.Key.GetToken()), p.Value}
	}
	return list, true
}

// scalar gives the text of a value: numbers and booleans as they are written. False for anything else, which includes
// anchors, aliases and tags: a rules file does without.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, " \n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	default:
		return "", false
	}
}

// cursor walks through the source of a scalar in step with its text, to tell where each character of the text stands
// in the file: YAML folds lines, doubles quotes and escapes.
type cursor struct {
	lines [][]rune
	style token.Type
	position
}

// locate gives the position of the character of text, the scalar n, that has the given index.
func locate(lines [][]rune, n ast.Node, text string, index int) position {
	c := cursorAt(lines, n)
	for i, r := range []rune(text) {
		width := c.find(r)
		if i == index {
			break
		}
		c.advance(width)
	}
	return c.position
}

func cursorAt(lines [][]rune, n ast.Node) *cursor {
	c := &cursor{lines: lines, style: n.GetToken().Type, position: positionOf(n.GetToken())}
	switch c.style {
	case token.SingleQuoteType, token.DoubleQuoteType:
		c.column++
	case token.LiteralType, token.FoldedType:
		c.line, c.column = c.line+1, 1
	}
	return c
}

// find moves to where r stands and gives how many columns it takes there. The end of a line stands for a line break, and
// for a space where YAML folds lines.
func (c *cursor) find(r rune) int {
	c.skipBlanks(r)
	for c.atLineEnd() && c.line < len(c.lines) {
		if r == '\n' || r == ' ' {
			return 1
		}
		c.nextLine()
		c.skipBlanks(r)
	}
	return c.width(r)
}

func (c *cursor) advance(width int) {
	if width > 0 && c.atLineEnd() {
		c.nextLine()
		return
	}
	c.column += width
}

func (c *cursor) nextLine() { c.line, c.column = c.line+1, 1 }

// skipBlanks passes over indentation, and over the blanks before a line's end that are not part of the text.
func (c *cursor) skipBlanks(r rune) {
	for !c.atLineEnd() && c.rest()[0] != r && unicode.IsSpace(c.rest()[0]) {
		c.column++
	}
}

// width gives how many columns r takes where the cursor stands; 0 where r does not stand there.
func (c *cursor) width(r rune) int {
	rest := c.rest()
	switch {
	case len(rest) == 0:
		return 0
	case c.style == token.DoubleQuoteType && rest[0] == '\\' && len(rest) > 1:
		return escapeWidth(rest[1])
	case c.style == token.SingleQuoteType && rest[0] == '\'':
		return 2
	case rest[0] == r:
		return 1
	default:
		return 0
	}
}

// escapeWidth gives the length of an escape in double quotes, by the letter after the backslash.
func escapeWidth(letter rune) int {
	switch letter {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}

// atLineEnd tells whether nothing of the line is left but, in double quotes, the backslash that hides its end.
func (c *cursor) atLineEnd() bool {
	rest := c.rest()
	return len(rest) == 0 || c.style == token.DoubleQuoteType && len(rest) == 1 && rest[0] == '\\'
}

func (c *cursor) rest() []rune {
	if c.line > len(c.lines) {
		return nil
	}
	line := c.lines[c.line-1]
	return line[min(c.column-1, len(line)):]
}
