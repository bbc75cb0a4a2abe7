package odata

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

const (
	defaultBatchLimit = 100

	multipartMixed  = "multipart/mixed"
	applicationHTTP = "application/http"
)

// Request is one operation of a [Client.Batch].
type Request struct {
	// Method is the HTTP method. Default GET.
	Method string
	// Path is relative to the service root and escaped: Interactions.
	Path  string
	Query url.Values
	// Records is how many it is about; 0 and 1 are one.
	Records int
	// Body is sent as JSON; nil means none.
	Body any
	// Into takes the answer as [Decode] says, unless that is empty; nil means that nobody wants it.
	Into any
}

func (r Request) writes() bool { return cmp.Or(r.Method, http.MethodGet) != http.MethodGet }

// Step is a part of a batch: one read, or a changeset, the writes of which are all done or none. Steps do not depend on
// each other.
type Step []Request

func (s Step) writes() bool { return len(s) != 1 || s[0].writes() }

// BatchLimit is the most operations of one batch.
func (c *Client) BatchLimit() int { return c.batchLimit }

// Batch sends all steps in one call and gives an error or nil for each, in their order (odata-v2.md §8).
//
// The second error is about the call as a whole: nothing is known of any step but what its class says. The errors of
// steps have the classes of single calls. An answer that is cut off, or is not what was asked for, is [fault.Unknown]
// where the batch has a write: some of it may be done. The texts in personal never appear in a fault.
//
// A tenant that has no $batch refuses it; [outbound.StatusOf] tells. A batch of more than [Client.BatchLimit] operations
// is not sent.
func (c *Client) Batch(ctx context.Context, operation string, steps []Step, personal ...string) ([]error, error) {
	operations, records := 0, 0
	for _, s := range steps {
		operations += len(s)
		for _, r := range s {
			records += max(r.Records, 1)
		}
	}
	if operations > c.batchLimit {
		return nil, c.fault(fault.Person, "%s: %d operations, a batch holds %d", operation, operations, c.batchLimit)
	}
	boundary := "batch_" + rand.Text()
	body, err := writeBatch(boundary, steps)
	if err != nil {
		return nil, c.unwritable(operation, err, personal)
	}
	answer, err := c.modify(ctx, outbound.Call{
		Operation: operation, Method: http.MethodPost, Path: c.root + "/$batch", Header: http.Header{"Accept": {multipartMixed}},
		Body: body, ContentType: multipartMixed + "; boundary=" + boundary,
		Write: slices.ContainsFunc(steps, Step.writes), Personal: personal, InsteadOf: outbound.Records(records),
	})
	if err != nil {
		return nil, err
	}
	parts, err := splitParts(answer.Header.Get("Content-Type"), answer.Body)
	if err != nil {
		return nil, answer.Malformed("%s", err)
	}
	if len(parts) != len(steps) {
		return nil, answer.Malformed("%d parts for %d steps", len(parts), len(steps))
	}
	errs := make([]error, len(steps))
	for i, s := range steps {
		errs[i] = readStep(answer, parts[i], s)
	}
	return errs, nil
}

func writeBatch(boundary string, steps []Step) ([]byte, error) {
	var b bytes.Buffer
	for i, s := range steps {
		fmt.Fprintf(&b, "--%s\r\n", boundary)
		if !s.writes() {
			if err := s[0].write(&b); err != nil {
				return nil, err
			}
			continue
		}
		inner := "changeset_" + strconv.Itoa(i+1) + "_" + rand.Text()
		fmt.Fprintf(&b, "Content-Type: %s; boundary=%s\r\n\r\n", multipartMixed, inner)
		for n, r := range s {
			fmt.Fprintf(&b, "--%s\r\nContent-ID: %d\r\n", inner, n+1)
			if err := r.write(&b); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "--%s--\r\n\r\n", inner)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// write adds the headers of the part and the request in it. Its line break before the next boundary belongs to that.
func (r Request) write(b *bytes.Buffer) error {
	address := r.Path
	if len(r.Query) > 0 {
		address += "?" + inQuery.Replace(r.Query.Encode())
	}
	fmt.Fprintf(b, "Content-Type: %s\r\nContent-Transfer-Encoding: binary\r\n\r\n%s %s HTTP/1.1\r\nAccept: application/json\r\n",
		applicationHTTP, cmp.Or(r.Method, http.MethodGet), address)
	if r.Body == nil {
		b.WriteString("\r\n\r\n")
		return nil
	}
	body, err := json.Marshal(r.Body)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s\r\n", len(body), body)
	return nil
}

// inQuery makes the form encoding of net/url what SAP Gateway is used to: a space is %20 and $ stays (odata-v2.md §8).
var inQuery = strings.NewReplacer("+", "%20", "%24", "$")

// part is one MIME part of an answer.
type part struct {
	contentType string
	content     []byte
}

func (p part) media() string {
	media, _, _ := mime.ParseMediaType(p.contentType)
	return media
}

// splitParts takes a multipart body apart. The boundaries are the answer's own. One without its closing boundary was
// cut off.
func splitParts(contentType string, body []byte) ([]part, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != multipartMixed || params["boundary"] == "" {
		return nil, errors.New("it is not multipart/mixed with a boundary")
	}
	var parts []part
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF { //nolint:errorlint // a wrapped one says that the closing boundary is missing
			return parts, nil
		}
		if err != nil {
			return nil, errors.New("its parts cannot be told apart, or are cut off")
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return nil, errors.New("one of its parts is cut off")
		}
		parts = append(parts, part{p.Header.Get("Content-Type"), content})
	}
}

// readStep gives what became of a step. A changeset that failed has one part for all its operations.
func readStep(whole *outbound.Answer, p part, s Step) error {
	parts := []part{p}
	if s.writes() && p.media() == multipartMixed {
		var err error
		if parts, err = splitParts(p.contentType, p.content); err != nil {
			return whole.Malformed("in a changeset: %s", err)
		}
	}
	for i, p := range parts {
		inner, err := p.answer(whole)
		if err != nil {
			return err
		}
		if err := judge(inner, s.writes()); err != nil {
			return err
		}
		if i >= len(s) || len(parts) != len(s) {
			return whole.Malformed("%d answers for a changeset of %d", len(parts), len(s))
		}
		if err := decode(inner, s[i].Into); err != nil {
			return err
		}
	}
	if len(parts) == 0 {
		return whole.Malformed("a changeset without an answer")
	}
	return nil
}

// answer reads the HTTP answer within a part. Content-Length is not looked at: servers count it in several ways, and the
// boundary says where the part ends.
func (p part) answer(whole *outbound.Answer) (*outbound.Answer, error) {
	if p.media() != applicationHTTP {
		return nil, whole.Malformed("a part is not application/http")
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(p.content)))
	line, err := r.ReadLine()
	words := strings.SplitN(line, " ", 3)
	if err != nil || len(words) < 2 || !strings.HasPrefix(words[0], "HTTP/") {
		return nil, whole.Malformed("a part has no status line")
	}
	status, err := strconv.Atoi(words[1])
	if err != nil || status < 100 || status > 599 {
		return nil, whole.Malformed("a part has no status")
	}
	header, err := r.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, whole.Malformed("the headers of a part are malformed")
	}
	body, err := io.ReadAll(r.R)
	if err != nil {
		return nil, whole.Malformed("a part cannot be read")
	}
	inner := *whole // of the same call, and so with the same words about it
	inner.Status, inner.Header, inner.Body = status, http.Header(header), body
	return &inner, nil
}

// judge is what outbound does with the answer to a single call.
func judge(a *outbound.Answer, write bool) error {
	class := outbound.Classify(a.Status, write)
	switch {
	case class == "":
		return nil
	case locked(a):
		return a.Fault(fault.Transient, lockedText)
	}
	texts := []string{strings.TrimSpace(strconv.Itoa(a.Status) + " " + http.StatusText(a.Status))}
	code, message := ErrorWords(*a)
	if message == "" {
		message = string(a.Body)
	}
	for _, word := range []string{a.Words(code, 64), a.Words(message, 300)} {
		if word != "" {
			texts = append(texts, word)
		}
	}
	return a.Fault(class, "%s", strings.Join(texts, ": "))
}

func decode(a *outbound.Answer, into any) error {
	if into == nil || len(bytes.TrimSpace(a.Body)) == 0 {
		return nil
	}
	return a.Decode(&envelope{into})
}
