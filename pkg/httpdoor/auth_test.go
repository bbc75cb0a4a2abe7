package httpdoor_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/livefile"
	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
	"github.com/closeloop/closeloop/pkg/settings"
)

func TestGuardedRoutesAskForCredentials(t *testing.T) {
	both := httpdoor.Settings{
		BasicUsers: settings.SecretsOf("sap:old", "sap:n:ew", "qualtrics:x"),
		APIKeys:    settings.SecretsOf("key-1", "key-2"),
	}
	tests := []struct {
		name     string
		settings httpdoor.Settings
		header   []string
		status   int
	}{
		{"none sent", both, nil, 401},
		{"user", both, basic("sap:old"), 200},
		{"user, second password, with a colon", both, basic("sap:n:ew"), 200},
		{"another user", both, basic("qualtrics:x"), 200},
		{"wrong password", both, basic("sap:x"), 401},
		{"no password", both, basic("sap:"), 401},
		{"unknown user", both, basic("ada:old"), 401},
		{"case of the user", both, basic("SAP:old"), 401},
		{"not Base64", both, []string{"Authorization", "Basic ???"}, 401},
		{"bearer", both, []string{"Authorization", "Bearer old"}, 401},
		{"key", both, []string{"X-API-Key", "key-2"}, 200},
		{"wrong key", both, []string{"X-API-Key", "key-3"}, 401},
		{"part of a key", both, []string{"X-API-Key", "key"}, 401},
		{"user as key", both, []string{"X-API-Key", "sap:old"}, 401},
		{"key as user", both, basic("key-1:"), 401},
		{"wrong user, right key", both, append(basic("sap:x"), "X-API-Key", "key-1"), 200},
		{"nobody is known", httpdoor.Settings{}, basic("sap:old"), 401},
		{"nobody is known, nothing sent", httpdoor.Settings{}, nil, 401},
		{"nobody is known, empty key", httpdoor.Settings{}, []string{"X-API-Key", ""}, 401},
		{"nobody is asked", httpdoor.Settings{Auth: "none"}, nil, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := httpdoor.New(httpdoor.Options{Name: "ingress", Credentials: credentials(t, tt.settings)})
			d.Handle(http.MethodPost, "/guarded", httpdoor.Guarded, ok)
			d.Handle(http.MethodPost, "/open", httpdoor.Open, ok)
			got := call(t, d, http.MethodPost, "/guarded", nil, tt.header...)
			if got.Code != tt.status {
				t.Errorf("%d", got.Code)
			}
			challenge := got.Header().Get("WWW-Authenticate")
			if want := `Basic realm="ingress", charset="UTF-8"`; got.Code == 401 && challenge != want {
				t.Errorf("challenge %s", challenge)
			}
			if got.Code == 401 && got.problem(t).Detail == "" {
				t.Error("no detail")
			}
			if got := call(t, d, http.MethodPost, "/open", nil); got.Code != 200 {
				t.Errorf("open route: %d", got.Code)
			}
		})
	}
}

func TestHandlersAreToldTheUserWhosePasswordWasRight(t *testing.T) {
	both := httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:old"), APIKeys: settings.SecretsOf("key-1")}
	for name, tt := range map[string]struct {
		settings httpdoor.Settings
		header   []string
		user     string
	}{
		"user":                   {both, basic("ada:old"), "ada"},
		"key":                    {both, []string{"X-API-Key", "key-1"}, ""},
		"user and key":           {both, append(basic("ada:old"), "X-API-Key", "key-1"), "ada"},
		"somebody else, and key": {both, append(basic("grace:old"), "X-API-Key", "key-1"), ""},
		"wrong password and key": {both, append(basic("ada:new"), "X-API-Key", "key-1"), ""},
		"nobody is asked":        {httpdoor.Settings{Auth: "none"}, basic("ada:old"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, tt.settings)})
			got := "not called"
			d.Handle(http.MethodPost, "/guarded", httpdoor.Guarded, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
				got = r.User
				return nil, nil
			})
			call(t, d, http.MethodPost, "/guarded", nil, tt.header...)
			if got != tt.user {
				t.Errorf("user %q, want %q", got, tt.user)
			}
		})
	}
}

func TestTheChallengeNamesWhatOpensTheDoor(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Name: "ingress", Credentials: credentials(t, httpdoor.Settings{APIKeys: settings.SecretsOf("k")})})
	d.Handle(http.MethodGet, "/", httpdoor.Guarded, ok)
	if got := call(t, d, http.MethodGet, "/", nil).Header().Get("WWW-Authenticate"); got != `ApiKey realm="ingress"` {
		t.Error(got)
	}
}

func TestABrowserIsToldToAskForAPasswordForPagesOnly(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Name: "console", Credentials: credentials(t, httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:x")})})
	d.Handle(http.MethodGet, "/", httpdoor.Guarded, ok)
	for mode, want := range map[string]string{
		"navigate": `Basic realm="console", charset="UTF-8"`, "cors": `Session realm="console"`, "same-origin": `Session realm="console"`,
	} {
		got := call(t, d, http.MethodGet, "/", nil, "Sec-Fetch-Mode", mode)
		if challenges := got.Header().Values("WWW-Authenticate"); got.Code != 401 || len(challenges) != 1 || challenges[0] != want {
			t.Errorf("%s: %d %q", mode, got.Code, challenges)
		}
	}
}

func TestCredentialsAreAskedBeforeTheBodyIsRead(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{BodyLimit: 1})
	d.Handle(http.MethodPost, "/", httpdoor.Guarded, ok)
	body := strings.NewReader("large")
	if got := call(t, d, http.MethodPost, "/", body); got.Code != 401 || body.Len() != 5 {
		t.Errorf("%d, %d bytes unread", got.Code, body.Len())
	}
}

func TestUnusualCredentialsAreLoggedOnce(t *testing.T) {
	for setting, want := range map[string]string{"": "refuse everybody", "none": "open to everybody"} {
		var log bytes.Buffer
		d := httpdoor.New(httpdoor.Options{
			Credentials: credentials(t, httpdoor.Settings{Auth: setting}),
			Log:         slog.New(slog.NewTextHandler(&log, nil)),
		})
		d.Handle(http.MethodGet, "/open", httpdoor.Open, ok)
		if log.Len() != 0 {
			t.Errorf("%q: logged %s", setting, &log)
		}
		d.Handle(http.MethodGet, "/one", httpdoor.Guarded, ok)
		d.Handle(http.MethodGet, "/two", httpdoor.Guarded, ok)
		if got := log.String(); strings.Count(got, want) != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "INGRESS_AUTH=none") {
			t.Errorf("%q: logged %s", setting, got)
		}
	}
	var log bytes.Buffer
	d := httpdoor.New(httpdoor.Options{
		Credentials: credentials(t, httpdoor.Settings{APIKeys: settings.SecretsOf("k")}),
		Log:         slog.New(slog.NewTextHandler(&log, nil)),
	})
	if d.Handle(http.MethodGet, "/", httpdoor.Guarded, ok); log.Len() != 0 {
		t.Errorf("logged %s", &log)
	}
}

func TestSettingsThatAreWrongAreNamedWithoutTheirSecrets(t *testing.T) {
	const secret = "hunter2"
	tests := map[string]struct {
		settings httpdoor.Settings
		want     string
	}{
		"no colon":      {httpdoor.Settings{BasicUsers: settings.SecretsOf("a:b", secret)}, "INGRESS_BASIC_USERS: entry 2 is not user:password"},
		"no password":   {httpdoor.Settings{BasicUsers: settings.SecretsOf(secret + ":")}, "INGRESS_BASIC_USERS: entry 1 is not user:password"},
		"no user":       {httpdoor.Settings{BasicUsers: settings.SecretsOf(":" + secret)}, "INGRESS_BASIC_USERS: entry 1 is not user:password"},
		"another word":  {httpdoor.Settings{Auth: "off"}, `INGRESS_AUTH is "off"; it may be empty or none`},
		"contradiction": {httpdoor.Settings{Auth: "none", APIKeys: settings.SecretsOf(secret)}, "INGRESS_AUTH=none contradicts INGRESS_BASIC_USERS, INGRESS_API_KEYS and INGRESS_OAUTH_ISSUER"},
	}
	for name, tt := range tests {
		if err := tt.settings.Validate(); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		if o, _ := tt.settings.Options(); o.Credentials.None {
			t.Errorf("%s: the door is open", name)
		}
	}
}

func TestSettingsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("INGRESS_BASIC_USERS", "sap:one,sap:two")
	t.Setenv("INGRESS_API_KEYS", "key")
	var s struct{ httpdoor.Settings }
	if err := settings.Load(&s); err != nil {
		t.Fatal(err)
	}
	c := credentials(t, s.Settings)
	if users, keys := c.Basic.Reveal(), c.APIKeys.Reveal(); !slices.Equal(users, []string{"sap:one", "sap:two"}) || !slices.Equal(keys, []string{"key"}) {
		t.Errorf("got %d users, %d keys", len(users), len(keys))
	}
}

func credentials(t *testing.T, s httpdoor.Settings) httpdoor.Credentials {
	t.Helper()
	o, err := s.Options()
	if err != nil {
		t.Fatal(err)
	}
	return o.Credentials
}

func basic(userPassword string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(userPassword))}
}

// whoami answers who was let in.
func whoami(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	return &httpdoor.Response{Body: r.User}, nil
}

func TestCredentialsFollowTheirFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mounted := livefiletest.Mount(t, map[string]string{"users": "sap:one", "keys": "key-1"})
		t.Setenv("INGRESS_BASIC_USERS_FILE", mounted.Path("users"))
		t.Setenv("INGRESS_API_KEYS_FILE", mounted.Path("keys"))
		var s struct{ httpdoor.Settings }
		if err := settings.Load(&s); err != nil {
			t.Fatal(err)
		}
		d := guarded(t, s.Settings)
		want := func(what string, status int, header ...string) {
			t.Helper()
			if got := call(t, d, http.MethodPost, "/", nil, header...); got.Code != status {
				t.Errorf("%s: %d, want %d", what, got.Code, status)
			}
		}
		update := func(users, keys string) {
			mounted.Update(map[string]string{"users": users, "keys": keys})
			<-time.After(livefile.Every) // of the test's own clock
		}
		want("first password", 200, basic("sap:one")...)
		want("first key", 200, "X-API-Key", "key-1")
		update("sap:one,sap:two", "key-1\nkey-2\n")
		want("both passwords", 200, basic("sap:one")...)
		want("both passwords", 200, basic("sap:two")...)
		want("both keys", 200, "X-API-Key", "key-2")
		update("sap:two", "key-2")
		want("old password", 401, basic("sap:one")...)
		want("old key", 401, "X-API-Key", "key-1")
		want("new password", 200, basic("sap:two")...)
		update("sap:three,nonsense", "\n")
		want("of a list with a bad entry", 401, basic("sap:three")...)
		want("of the last good list", 200, basic("sap:two")...)
		want("of a list that is empty now", 200, "X-API-Key", "key-2")
	})
}

// wantProblem wants an error that names the setting.
func wantProblem(t *testing.T, name string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%s: %v", name, err)
	}
}
