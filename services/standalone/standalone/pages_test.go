package standalone_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/pkg/browsertest/a11y"
	"github.com/closeloop/closeloop/services/console/web"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// user is who signs in at the console of these tests.
const user, password = "ada", "correct horse"

// credentials has doors ask for them.
var credentials = []string{"INGRESS_BASIC_USERS=" + user + ":" + password, "INGRESS_API_KEYS=test-key"}

// installation is standalone as a process, with a campaign that was played and dead letters, and a browser before it.
type installation struct {
	t       *testing.T
	ctx     context.Context
	address string
	js      jetstream.JetStream
}

// install starts it with the members of a campaign and more settings, and a browser that lives so long.
func install(t *testing.T, members int, browserFor time.Duration, env ...string) *installation {
	t.Helper()
	ctx := browsertest.NewFor(t, browserFor)
	address, broker := freeAddress(t), freeAddress(t)
	_, port, _ := strings.Cut(broker, ":")
	launch(t, "standalone", append([]string{
		"DATA_DIR=" + t.TempDir(), "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=" + port, fmt.Sprint("STANDALONE_CAMPAIGN=", members),
	}, env...)...)
	in := &installation{t: t, ctx: ctx, address: "http://" + address}
	eventually(t, "ready", time.Minute, func() bool { return get(t.Context(), in.address+"/readyz", nil) })
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if in.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return in
}

func (in *installation) books() landscape.Books {
	in.t.Helper()
	var books landscape.Books
	eventually(in.t, "the books can be read", time.Minute, func() bool { return get(in.t.Context(), in.address+"/landscape/books.json", &books) })
	return books
}

// do has the browser do something.
func (in *installation) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	in.t.Helper()
	if err := chromedp.Do(in.ctx, steps...); err != nil {
		in.t.Fatalf("%s: %v\n%s", what, err, in.seen())
	}
}

// seen is what the browser shows, for when a test fails.
func (in *installation) seen() string {
	ctx, cancel := context.WithTimeout(in.ctx, 5*time.Second)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return "the page cannot be read: " + err.Error()
	}
	return at
}

func (in *installation) text(selector string) string {
	in.t.Helper()
	text, err := chromedp.Run(in.ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		in.t.Fatalf("%s: %v\n%s", selector, err, in.seen())
	}
	return text
}

func (in *installation) location() string {
	in.t.Helper()
	at, err := chromedp.Run(in.ctx, chromedp.Location())
	if err != nil {
		in.t.Fatal(err)
	}
	return at
}

func (in *installation) open(path string) {
	in.t.Helper()
	in.do("opening "+path, chromedp.Navigate(in.address+path))
}

// refused publishes feedback that SAP Sales Cloud refuses: about accounts that it does not have.
func (in *installation) refused(letters int) {
	in.t.Helper()
	for i := range letters {
		body := fmt.Sprintf(`{"responseId":"R_late_%d","subject":"Cart Abandonment - Check Delivery Time","text":"Wanted earlier","accountId":"47%02d","contactId":"1000456","processorId":"8000000002"}`, i, i)
		if _, err := in.js.Publish(in.t.Context(), late, []byte(body)); err != nil {
			in.t.Fatal(err)
		}
	}
}

// filled is an installation in which something of everything has happened, with somebody who may do everything signed in.
func filled(t *testing.T, browserFor time.Duration) *installation {
	t.Helper()
	in := install(t, 25, browserFor, credentials...)
	in.refused(12)
	for _, body := range []string{`{"requestId":"m-1","contact":{"externlId":"P-1","email":"ada@example.com"}}`, `{"requestId":"m-2","contact":{"externlId":"P-2"}}`} {
		if _, err := in.js.Publish(t.Context(), "survey.link.requested", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the campaign is over", 3*time.Minute, func() bool {
		var books landscape.Books
		return get(t.Context(), in.address+"/landscape/books.json", &books) && len(books.Awardco.Recognitions) == 6 && len(books.SalesCloud.Tasks) == 4
	})
	in.open("/")
	return in
}

// signIn fills in the form that a page has led to, and waits for that page.
func (in *installation) signIn(title string) {
	in.t.Helper()
	in.do("signing in",
		chromedp.SendKeys(chromedp.CSS(`input[name="user"]`), user),
		chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), password),
		chromedp.Click(chromedp.CSS(`main form button[type="submit"]`)),
		chromedp.WaitVisible(chromedp.Search(`//h1[.="`+title+`"]`)),
	)
}

var (
	particular = regexp.MustCompile(`/[^/]*[0-9][^/]*`)
	ours       = regexp.MustCompile(`^/(loops|numbers|vendors|dead-letters|rules|operations|erasures|sign-in)?(/|$)`)
)

// kind is what pages that differ only in what they are about have in common: the path without ids, and the names of the parameters.
func kind(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return path
	}
	var names []string
	for name := range u.Query() {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.TrimSuffix(particular.ReplaceAllString(u.Path, "/{id}")+"?"+strings.Join(names, "&"), "?")
}

// links are the pages of the console that the page leads to.
func (in *installation) links() (paths []string) {
	in.t.Helper()
	all, err := chromedp.Run(in.ctx, chromedp.Evaluate[[]string](
		`[...document.querySelectorAll("a[href]:not([download])")].filter(a => a.origin === location.origin).map(a => a.pathname + a.search)`))
	if err != nil {
		in.t.Fatal(err)
	}
	for _, path := range all {
		if u, err := url.Parse(path); err == nil && ours.MatchString(u.Path) && !u.Query().Has("format") {
			paths = append(paths, path)
		}
	}
	return paths
}

// each opens one page of each kind that can be reached from the start.
func (in *installation) each(visit func(kind string)) (kinds []string) {
	in.t.Helper()
	seen, waiting := map[string]bool{}, []string{"/loops"}
	for len(waiting) > 0 {
		path := waiting[0]
		waiting = waiting[1:]
		if seen[kind(path)] {
			continue
		}
		seen[kind(path)] = true
		in.open(path)
		visit(kind(path))
		kinds = append(kinds, kind(path))
		waiting = append(waiting, in.links()...)
	}
	return kinds
}

// examine holds the page that is open against the rules of package a11y, in each theme and wide and narrow.
func (in *installation) examine(name string) {
	in.t.Helper()
	found := map[string]string{}
	for _, theme := range []browsertest.Theme{browsertest.Light, browsertest.Dark} {
		for _, width := range []int64{1280, 320} {
			in.do(name, browsertest.Look(width, 900, theme))
			violations, err := a11y.Check(in.ctx)
			if err != nil {
				in.t.Fatalf("%s: %v", name, err)
			}
			for _, v := range violations {
				if _, known := found[v.String()]; !known {
					found[v.String()] = fmt.Sprintf("%d px, %s", width, theme)
				}
			}
		}
	}
	for violation, at := range found {
		in.t.Errorf("%s (%s): %s", name, at, violation)
	}
}

func TestNoPageKeepsAnybodyOut(t *testing.T) {
	in := filled(t, 10*time.Minute)
	in.examine("/sign-in")
	in.signIn("Loops")
	kinds := in.each(in.examine)
	for _, wanted := range []string{"/loops", "/loops/{id}", "/numbers", "/vendors", "/dead-letters", "/dead-letters/{id}", "/rules", "/operations"} {
		if !slices.Contains(kinds, wanted) {
			t.Errorf("no link leads to %s", wanted)
		}
	}
	t.Logf("looked at %q", kinds)
}

var screenshots = flag.String("screenshots", "", "write screenshots of the console's pages into this `folder`")

// shots are the folder of the screenshots, seen from here, and the file that shows them.
const (
	shots       = "../../console/screenshots"
	shotsReadme = "../../console/README.md"
)

func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("scripts/screenshots makes them")
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	in := filled(t, 5*time.Minute)
	in.signIn("Loops")
	for _, section := range web.Sections {
		in.open(section.Path)
		in.shoot(strings.Trim(section.Path, "/"), 1280, 800, browsertest.Light)
	}
}

// shoot takes a picture of what a window of that size shows.
func (in *installation) shoot(name string, width, height int64, theme browsertest.Theme) {
	in.t.Helper()
	in.do(name, browsertest.Look(width, height, theme))
	content, err := chromedp.Run(in.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		in.t.Fatal(err)
	}
	if content, err = fewColours(content); err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), content, 0o644); err != nil {
		in.t.Fatal(err)
	}
}

// fewColours makes a picture small: it keeps the 256 colours that are there most often, and gives all others the nearest of them.
func fewColours(content []byte) ([]byte, error) {
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	bounds, often := picture.Bounds(), map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA) }
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			often[at(x, y)]++
		}
	}
	known := make([]color.RGBA, 0, len(often))
	for c := range often {
		known = append(known, c)
	}
	slices.SortFunc(known, func(a, b color.RGBA) int { return often[b] - often[a] })
	var palette color.Palette
	for _, c := range known[:min(len(known), 256)] {
		palette = append(palette, c)
	}
	few, index := image.NewPaletted(bounds, palette), map[color.RGBA]uint8{}
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := at(x, y)
			if _, ok := index[c]; !ok {
				index[c] = uint8(palette.Index(c))
			}
			few.SetColorIndex(x, y, index[c])
		}
	}
	var small bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, few)
	return small.Bytes(), err
}

// largestShot is what a picture in the repository may take.
const largestShot = 150 << 10

func TestEachSectionHasAScreenshotInTheREADME(t *testing.T) {
	readme, err := os.ReadFile(shotsReadme)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range web.Sections {
		name := strings.Trim(section.Path, "/") + ".png"
		if !regexp.MustCompile(`!\[[^\]]{10,}\]\(screenshots/` + regexp.QuoteMeta(name) + `\)`).Match(readme) {
			t.Errorf("the README does not show screenshots/%s with a text in its place", name)
		}
	}
	files, err := filepath.Glob(filepath.Join(shots, "*.png"))
	if err != nil || len(files) < len(web.Sections) {
		t.Fatalf("%d screenshots, %v: scripts/screenshots makes them", len(files), err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > largestShot {
			t.Errorf("%s: larger than %d bytes, or %v", file, largestShot, err)
		}
		if !bytes.Contains(readme, []byte("screenshots/"+filepath.Base(file))) {
			t.Errorf("the README does not show %s", file)
		}
	}
}
