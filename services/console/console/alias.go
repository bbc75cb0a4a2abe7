package console

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
)

// named is the id of a loop or an event that is shown as it is: there is no e-mail address in it, nor a text.
var named = regexp.MustCompile(`^[\pL\pN._:/+=#~-]{0,256}$`)

// aliasPrefix begins what stands for an id that may hold somebody's address.
const aliasPrefix = "~"

// aliases stand for the ids of loops and events that callers chose and that may hold somebody's address: such an id is in no address,
// title or list. An alias is the id itself, encrypted, so that none has to be kept, and the same id has the same alias at every
// console with the same key.
type aliases struct {
	sealed cipher.AEAD
	key    []byte
}

// newAliases makes those of a key; of a random one where that is empty, so that they end with the process.
func newAliases(key string) *aliases {
	secret := sha256.Sum256([]byte("closeloop aliases\x00" + cmp.Or(key, rand.Text())))
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // it is of the right length
	}
	sealed, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // no block of this cipher is of another size
	}
	return &aliases{sealed, secret[:]}
}

// of gives what an id is called in addresses and in answers: itself, or what stands for it.
func (a *aliases) of(id string) string {
	if named.MatchString(id) {
		return id
	}
	mac := hmac.New(sha256.New, a.key) // the nonce is the same for the same id, and for no other
	mac.Write([]byte(id))
	nonce := mac.Sum(nil)[:a.sealed.NonceSize()]
	return aliasPrefix + base64.RawURLEncoding.EncodeToString(a.sealed.Seal(nonce, nonce, []byte(id), nil))
}

// id gives the id that was called so: what is no alias of ours is an id.
func (a *aliases) id(called string) string {
	text, aliased := strings.CutPrefix(called, aliasPrefix)
	content, err := base64.RawURLEncoding.DecodeString(text)
	if size := a.sealed.NonceSize(); aliased && err == nil && len(content) > size {
		if id, err := a.sealed.Open(nil, content[:size], content[size:], nil); err == nil {
			return string(id)
		}
	}
	return called
}

// titleMost is how much of an alias is shown in a title.
const titleMost = 7

// title names a loop by what it is called, shortly where that says nothing.
func (a *aliases) title(called string) string {
	if a.id(called) != called {
		return "•••• " + called[len(aliasPrefix):titleMost]
	}
	return called
}
