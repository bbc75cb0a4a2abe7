package web

import (
	"strings"
	"testing"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

func TestALinkFromOutsideLeadsToTheWebOrNowhere(t *testing.T) {
	for address, leads := range map[string]bool{
		"https://survey.example/jfe/form/SV_1?Q_DL=a&b=c": true, "HTTP://survey.example/": true, "mailto:care@example.com": true,
		"/jfe/form/SV_1": true, "form?back=a:b": true,
		"javascript:alert(1)": false, " JavaScript:alert(1)": false, "java\nscript:alert(1)": false, "data:text/html,x": false, "vbscript:x": false,
	} {
		var page strings.Builder
		if err := outside(address, g.Text("Open")).Render(&page); err != nil {
			t.Fatal(err)
		}
		var plain strings.Builder
		if err := h.A(h.Href(address), g.Text("Open")).Render(&plain); err != nil {
			t.Fatal(err)
		}
		if want := plain.String(); leads && page.String() != want || !leads && page.String() != "<a>Open</a>" {
			t.Errorf("%q: %s", address, &page)
		}
	}
}
