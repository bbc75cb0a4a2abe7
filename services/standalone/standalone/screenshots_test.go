package standalone_test

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/services/console/web"
)

var screenshots = flag.String("screenshots", "", "write screenshots of the console's pages into this `folder`")

// The folder of the screenshots, seen from here, and the file that shows them.
const (
	shots       = "../../console/screenshots"
	shotsReadme = "../../console/README.md"
)

// largestShot is what a picture in the repository may take, in bytes.
const largestShot = 150_000

func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("scripts/screenshots makes them")
	}
	in := filled(t, 5*time.Minute)
	in.signIn("Loops")
	for _, shot := range []struct {
		name, from    string
		width, height int64
		theme         browsertest.Theme
		steps         []chromedp.Action[chromedp.Void]
	}{
		{name: "loops", from: "/loops", height: 800},
		{name: "loop", from: "/loops?stage=closed", height: 1100, steps: steps(chromedp.Click(chromedp.CSS(`#loops-rows a`)), headed("Loop "))},
		{name: "loops-narrow", from: "/loops", width: 360, height: 720},
		{name: "numbers", from: "/numbers", height: 900},
		{name: "numbers-dark", from: "/numbers", height: 900, theme: browsertest.Dark},
		{name: "vendors", from: "/vendors", height: 800},
		{name: "dead-letters", from: "/dead-letters", height: 800},
		{name: "dead-letter", from: "/dead-letters/1", height: 900},
		{name: "change", from: "/dead-letters", height: 900, steps: change},
		{name: "job", from: "/dead-letters", height: 800, steps: slices.Concat(change, sample)},
		{name: "rules", from: "/rules", height: 800},
		{name: "rules-try", from: "/rules", height: 800, steps: slices.Concat(tried, steps(headed("What the change would do")))},
		{name: "operations", from: "/operations", height: 600},
	} {
		in.do(shot.name, browsertest.Look(cmp.Or(shot.width, 1280), shot.height, cmp.Or(shot.theme, browsertest.Light)), chromedp.Navigate(in.address+shot.from))
		in.do(shot.name, shot.steps...)
		in.shoot(shot.name)
	}
}

// shoot takes a picture of what the window shows, from the top of the page.
func (in *installation) shoot(name string) {
	in.t.Helper()
	in.do(name, chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(), scrollTo(0, 0)`))
	content, err := fewColours(ask(in, name, chromedp.CaptureScreenshot()))
	if err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), content, 0o644); err != nil {
		in.t.Fatal(err)
	}
}

// fewColours makes a picture small: it keeps the 256 colours that are there most often, and gives all others the nearest of
// them.
func fewColours(content []byte) ([]byte, error) {
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	bounds, often := picture.Bounds(), map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			often[picture.At(x, y)]++
		}
	}
	var palette color.Palette
	for c := range often {
		palette = append(palette, c)
	}
	slices.SortFunc(palette, func(a, b color.Color) int { return cmp.Compare(often[b], often[a]) })
	few, index := image.NewPaletted(bounds, palette[:min(len(palette), 256)]), map[color.Color]uint8{}
	for c := range often {
		index[c] = uint8(few.Palette.Index(c))
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.SetColorIndex(x, y, index[picture.At(x, y)])
		}
	}
	var small bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, few)
	return small.Bytes(), err
}

func TestEachSectionHasAScreenshotInTheREADME(t *testing.T) {
	readme, err := os.ReadFile(shotsReadme)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, picture := range regexp.MustCompile(`!\[[^\]]{10,}\]\(screenshots/([^)]+)\)`).FindAllSubmatch(readme, -1) {
		shown[string(picture[1])] = true
	}
	for _, section := range web.Sections {
		if name := strings.Trim(section.Path, "/") + ".png"; !shown[name] {
			t.Errorf("the README does not show %s with a text in its place", name)
		}
	}
	for name := range shown {
		if info, err := os.Stat(filepath.Join(shots, name)); err != nil || info.Size() > largestShot {
			t.Errorf("%s is not there, or larger than %d bytes: scripts/screenshots makes it (%v)", name, largestShot, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(shots, "*.png"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !shown[filepath.Base(file)] {
			t.Errorf("the README does not show %s", filepath.Base(file))
		}
	}
}
