package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

//go:embed assets
var assets embed.FS

// versions are the first letters of each file's hash: they are part of its address, so that browsers may keep it for good.
var versions = func() map[string]string {
	known := map[string]string{}
	files, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // it is part of the program
	}
	for _, f := range files {
		content, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		known[f.Name()] = hex.EncodeToString(sum[:6])
	}
	return known
}()

// asset is the address of one of our files.
func asset(name string) string { return "/assets/" + name + "?v=" + versions[name] }

// Asset answers GET /assets/{name}.
func Asset(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	name := r.Param("name")
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		return nil, httpdoor.NotFound("there is no such file")
	}
	keep := "no-cache"
	if r.Query.Get("v") == versions[name] {
		keep = "public, max-age=31536000, immutable"
	}
	return &httpdoor.Response{
		ContentType: mime.TypeByExtension(path.Ext(name)), Body: content,
		Header: http.Header{"Cache-Control": {keep}},
	}, nil
}
