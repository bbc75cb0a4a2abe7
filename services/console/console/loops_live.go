package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
)

// parts sends to a page what of it has changed.
type parts struct {
	to   *httpdoor.Events
	sent map[string][sha256.Size]byte // the hash of each, by id
}

func newParts(to *httpdoor.Events) *parts { return &parts{to, map[string][sha256.Size]byte{}} }

// send sends those that differ from what was sent before.
func (p *parts) send(ids []string, nodes map[string]g.Node) error {
	var b bytes.Buffer
	for _, id := range ids {
		var one bytes.Buffer
		if err := nodes[id].Render(&one); err != nil {
			return err
		}
		if hash := sha256.Sum256(one.Bytes()); p.sent[id] != hash {
			p.sent[id] = hash
			b.Write(one.Bytes())
			b.WriteByte('\n')
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return p.to.Send("parts", b.Bytes())
}

const (
	// liveRows is how many rows of a list are kept up to date.
	liveRows = 50
	// livePause is between one look for changes and the next: services may change loops a hundred times a second.
	livePause = time.Second
)

// listLive sends the rows of a list that are new or changed, first those that changed while nobody listened.
func (p *loopPages) listLive(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	q, err := p.query(r.Query)
	if err != nil {
		return err
	}
	q.Limit = min(q.Limit, liveRows)
	page := newParts(to)
	return eachChange(ctx, p.store.Watch(ctx), func(changed []string) error { return p.sendRows(ctx, q, changed, page) })
}

// eachChange looks at once, and then after each change, with a pause between two looks.
func eachChange(ctx context.Context, changes <-chan []string, look func(changed []string) error) error {
	for changed, more := []string(nil), true; more; changed, more = <-changes {
		if err := look(changed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(livePause):
		}
	}
	return nil
}

// sendRows sends the rows of the first page, and those that were on it and have changed so that they are not any more.
func (p *loopPages) sendRows(ctx context.Context, q loops.Query, changed []string, page *parts) error {
	found, err := p.find(ctx, q)
	if err != nil {
		return err
	}
	all := found.Loops
	if len(changed) == 0 { // nothing was sent yet, or so much has changed that it is not listed
		changed = page.loops()
	}
	for _, id := range changed {
		if _, was := page.sent[rowID(id)]; was && !slices.ContainsFunc(all, func(l loops.Summary) bool { return l.ID == id }) {
			l, err := p.store.Loop(ctx, id)
			if errors.Is(err, loops.ErrUnknown) {
				continue
			}
			if err != nil {
				return err
			}
			all = append(all, masked(l.Summary))
		}
	}
	ids, nodes := []string{}, map[string]g.Node{}
	for _, l := range slices.Backward(all) { // each goes to the top
		id := rowID(l.ID)
		ids, nodes[id] = append(ids, id), loopRow(l).With(html.Data("into", rowsID))
	}
	return page.send(ids, nodes)
}

// loops gives those whose rows were sent.
func (p *parts) loops() []string {
	var all []string
	for row := range p.sent {
		if id, err := url.QueryUnescape(strings.TrimPrefix(row, rowPrefix)); err == nil {
			all = append(all, id)
		}
	}
	return all
}

// oneLive sends the parts of a loop's page that have changed.
func (p *loopPages) oneLive(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	id := r.Param("id")
	changes, page := p.store.Watch(ctx), newParts(to)
	for {
		err := p.sendLoop(ctx, id, page)
		if err != nil && !errors.Is(err, loops.ErrUnknown) { // it may come
			return err
		}
		if !next(changes, id) {
			return nil
		}
	}
}

// next waits until something may have happened to a loop; false when nothing will any more. So much may have changed that it is
// not listed.
func next(changes <-chan []string, id string) bool {
	for changed := range changes {
		if len(changed) == 0 || slices.Contains(changed, id) {
			return true
		}
	}
	return false
}

func (p *loopPages) sendLoop(ctx context.Context, id string, page *parts) error {
	if err := p.desk.refresh(ctx); err != nil {
		return err
	}
	s, err := p.story(ctx, id)
	if err != nil {
		return err
	}
	ids, nodes := []string{}, map[string]g.Node{}
	for _, part := range p.storyParts(s) {
		ids, nodes[part.id] = append(ids, part.id), part.node
	}
	return page.send(ids, nodes)
}
