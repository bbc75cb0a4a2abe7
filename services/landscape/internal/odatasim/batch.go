package odatasim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// ContentIDEcho says where the answer to a $batch repeats an operation's Content-ID; assumed (odata-v2.md §12).
type ContentIDEcho string

// The places of a Content-ID in an answer.
const (
	NoContentID    ContentIDEcho = ""
	MIMEContentID  ContentIDEcho = "mime"
	InnerContentID ContentIDEcho = "inner"
)

type changesetKey struct{}

// changeset gathers the writes of one changeset until all its operations have been accepted.
type changeset struct{ commits []func() error }

// Commit stores what an operation has decided: at once, or, inside a changeset, when all its operations have been
// accepted. A changeset is atomic for its callers, not against the end of the process in the middle of it.
func Commit(ctx context.Context, apply func() error) error {
	if open, ok := ctx.Value(changesetKey{}).(*changeset); ok {
		open.commits = append(open.commits, apply)
		return nil
	}
	return apply()
}

// part is one MIME part: its headers and its content.
type part struct {
	header  textproto.MIMEHeader
	content []byte
}

// operation is one HTTP request inside a batch, or the reason why it is none.
type operation struct {
	request   *http.Request
	rest      string // the address relative to the service
	contentID string
	err       error
}

// batch answers POST $batch (odata-v2.md §8). What breaks the multipart framing is refused as a whole with 400; a bad
// operation is refused in its own place.
func (s *Service) batch(w http.ResponseWriter, r *http.Request) {
	x := s.exchange(w, r)
	x.json = true
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		x.fault(Refuse(http.StatusRequestEntityTooLarge, CodeBadBody, "The batch is too large"))
		return
	}
	steps, err := x.parseBatch(body)
	if err != nil {
		x.fault(err)
		return
	}
	boundary := "R" + rand.Text()
	var out bytes.Buffer
	for _, step := range steps {
		fmt.Fprintf(&out, "--%s\r\n", boundary)
		x.run(&out, step)
	}
	fmt.Fprintf(&out, "--%s--\r\n", boundary)
	write(w, http.StatusAccepted, "multipart/mixed; boundary="+boundary, out.Bytes())
}

// step is a query or a changeset.
type step struct {
	operations []operation
	changeset  bool
}

func (x *exchange) parseBatch(body []byte) ([]step, error) {
	boundary, err := boundaryOf(x.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	parts, err := splitParts(body, boundary)
	if err != nil {
		return nil, err
	}
	var steps []step
	total := 0
	for _, p := range parts {
		s, err := x.parseStep(p)
		if err != nil {
			return nil, err
		}
		steps, total = append(steps, s), total+len(s.operations)
	}
	limit := x.Profile.BatchLimit
	if limit == 0 {
		limit = 100
	}
	if total > limit {
		return nil, badBatch("more than %d operations", limit)
	}
	return steps, nil
}

func (x *exchange) parseStep(p part) (step, error) {
	media, _, _ := mime.ParseMediaType(p.header.Get("Content-Type"))
	if media == "application/http" {
		return step{operations: []operation{x.parseOperation(p, false)}}, nil
	}
	boundary, err := boundaryOf(p.header.Get("Content-Type"))
	if err != nil {
		return step{}, err
	}
	parts, err := splitParts(p.content, boundary)
	if err != nil {
		return step{}, err
	}
	s := step{changeset: true}
	for _, inner := range parts {
		s.operations = append(s.operations, x.parseOperation(inner, true))
	}
	return s, nil
}

func boundaryOf(contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/mixed" || params["boundary"] == "" {
		return "", badBatch("a part is neither application/http nor multipart/mixed with a boundary")
	}
	return params["boundary"], nil
}

// splitParts cuts a multipart body. Lines end in CRLF, and the CRLF before a delimiter belongs to the delimiter.
func splitParts(body []byte, boundary string) ([]part, error) {
	delimiter := []byte("\r\n--" + boundary)
	pieces := bytes.Split(append([]byte("\r\n"), body...), delimiter)
	if len(pieces) < 2 || len(bytes.TrimSpace(pieces[0])) > 0 {
		return nil, badBatch("the body does not begin with its boundary (lines end in CRLF)")
	}
	last := pieces[len(pieces)-1]
	if !bytes.HasPrefix(last, []byte("--")) {
		return nil, badBatch("the closing boundary is missing")
	}
	var parts []part
	for _, piece := range pieces[1 : len(pieces)-1] {
		content, ok := bytes.CutPrefix(piece, []byte("\r\n"))
		if !ok {
			return nil, badBatch("a boundary must stand alone on a line that ends in CRLF")
		}
		header, rest, err := splitHeader(content)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{header, rest})
	}
	return parts, nil
}

// splitHeader reads header lines up to the empty line.
func splitHeader(content []byte) (textproto.MIMEHeader, []byte, error) {
	if rest, none := bytes.CutPrefix(content, []byte("\r\n")); none {
		return textproto.MIMEHeader{}, rest, nil
	}
	head, rest, found := bytes.Cut(content, []byte("\r\n\r\n"))
	if !found {
		return nil, nil, badBatch("the empty line after the headers of a part is missing")
	}
	reader := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader("\r\n\r\n"))))
	header, err := reader.ReadMIMEHeader()
	if err != nil || bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n")) {
		return nil, nil, badBatch("the headers of a part are malformed")
	}
	return header, rest, nil
}

func (x *exchange) parseOperation(p part, inChangeset bool) operation {
	o := operation{contentID: p.header.Get("Content-Id")}
	media, _, _ := mime.ParseMediaType(p.header.Get("Content-Type"))
	if media != "application/http" || !strings.EqualFold(p.header.Get("Content-Transfer-Encoding"), "binary") {
		o.err = badBatch("an operation is application/http with Content-Transfer-Encoding: binary")
		return o
	}
	line, rest, found := bytes.Cut(p.content, []byte("\r\n"))
	words := strings.Split(string(line), " ")
	if !found || len(words) != 3 || words[2] != "HTTP/1.1" {
		o.err = badBatch("the request line must be method, encoded address and HTTP/1.1")
		return o
	}
	header, body, err := splitHeader(rest)
	if err != nil {
		o.err = err
		return o
	}
	if o.err = checkOperation(words[0], words[1], header, body, inChangeset); o.err != nil {
		return o
	}
	o.request, err = http.NewRequestWithContext(x.r.Context(), words[0], x.base+"/"+words[1], bytes.NewReader(body))
	if err != nil {
		o.err = badBatch("the request line is malformed")
		return o
	}
	o.request.Header, o.request.TLS = http.Header(header), x.r.TLS
	o.rest = strings.TrimPrefix(o.request.URL.EscapedPath(), x.Root+"/")
	return o
}

func checkOperation(method, address string, header textproto.MIMEHeader, body []byte, inChangeset bool) error {
	length := header.Get("Content-Length")
	switch {
	case strings.HasPrefix(address, "/"):
		return badBatch("addresses are relative to the service root, without a leading slash")
	case strings.HasPrefix(address, "$") && address != "$metadata":
		return Refuse(http.StatusNotImplemented, CodeBadBody, "References between operations are not simulated")
	case inChangeset == (method == http.MethodGet):
		return badBatch("a changeset holds writes only, and a write stands in a changeset")
	case length != "" && length != strconv.Itoa(len(body)):
		return badBatch("Content-Length of an operation differs from the octets of its body")
	}
	return nil
}

// run executes a step and writes its part of the answer, without the boundary before it.
func (x *exchange) run(out *bytes.Buffer, s step) {
	if !s.changeset {
		x.execute(x.r.Context(), s.operations[0]).writePart(out, "", NoContentID)
		return
	}
	open := &changeset{}
	ctx := context.WithValue(x.r.Context(), changesetKey{}, open)
	var answers []*recorder
	for _, o := range s.operations {
		answer := x.execute(ctx, o)
		if answer.status >= http.StatusBadRequest {
			answer.writePart(out, "", NoContentID) // one answer stands for the whole changeset
			return
		}
		answers = append(answers, answer)
	}
	for _, commit := range open.commits {
		if err := commit(); err != nil {
			x.refusal(err).writePart(out, "", NoContentID)
			return
		}
	}
	boundary := "R" + rand.Text()
	fmt.Fprintf(out, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n", boundary)
	for i, answer := range answers {
		fmt.Fprintf(out, "--%s\r\n", boundary)
		answer.writePart(out, s.operations[i].contentID, x.Profile.ContentID)
	}
	fmt.Fprintf(out, "--%s--\r\n\r\n", boundary)
}

func (x *exchange) execute(ctx context.Context, o operation) *recorder {
	if o.err != nil {
		return x.refusal(o.err)
	}
	answer := &recorder{header: http.Header{}}
	request := o.request.WithContext(ctx)
	if x.Called != nil {
		x.Called("$batch " + x.Operation(request))
	}
	answer.header.Set("DataServiceVersion", "2.0")
	x.serve(answer, request, o.rest)
	return answer
}

func (x *exchange) refusal(err error) *recorder {
	answer := &recorder{header: http.Header{}}
	writeFault(answer, asFault(err), x.Profile.Fault, x.Profile.InnerError)
	return answer
}

func badBatch(format string, args ...any) error {
	return Refuse(http.StatusBadRequest, CodeBadBody, "Malformed batch: "+format, args...)
}

// recorder keeps the answer to one operation.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

func (r *recorder) writePart(out *bytes.Buffer, contentID string, echo ContentIDEcho) {
	out.WriteString("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n")
	if contentID != "" && echo == MIMEContentID {
		fmt.Fprintf(out, "Content-ID: %s\r\n", contentID)
	}
	fmt.Fprintf(out, "\r\nHTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	if contentID != "" && echo == InnerContentID {
		fmt.Fprintf(out, "Content-ID: %s\r\n", contentID)
	}
	r.header.Set("Content-Length", strconv.Itoa(r.body.Len()))
	_ = r.header.Write(out) // a buffer takes everything
	out.WriteString("\r\n")
	out.Write(r.body.Bytes())
	out.WriteString("\r\n")
}
