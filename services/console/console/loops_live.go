package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// parts sends to a page what of it has changed.
type parts struct {
	to   *httpdoor.Events
	sent map[string][sha256.Size]byte // the hash of each, by id
}

func newParts(to *httpdoor.Events) *parts { return &parts{to, map[string][sha256.Size]byte{}} }

// send sends those that differ from what was sent before.
func (p *parts) send(all ...web.Piece) error {
	var b bytes.Buffer
	for _, piece := range all {
		var one bytes.Buffer
		if err := piece.Node.Render(&one); err != nil {
			return err
		}
		if hash := sha256.Sum256(one.Bytes()); p.sent[piece.ID] != hash {
			p.sent[piece.ID] = hash
			b.Write(one.Bytes())
			b.WriteByte('\n')
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return p.to.Send("parts", b.Bytes())
}

// keep sends what has changed, now and then every so often, until look says that nothing more will come.
func (p *parts) keep(ctx context.Context, every time.Duration, look func() (all []web.Piece, more bool)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		all, more := look()
		if err := p.send(all...); err != nil || !more {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// livePause is between one look for changes and the next: services may change loops a hundred times a second. A page larger than
// usual costs more, and is looked at less often.
const livePause = time.Second

func pauseFor(rows int) time.Duration { return livePause * time.Duration(1+(rows-1)/page) }

// listLive keeps a page of the list as it would be if it were loaded anew, beginning with what changed while nobody listened.
func (p *loopPages) listLive(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	q, err := p.query(r.Query)
	if err != nil {
		return err
	}
	at := *r
	at.Path = loopsPath
	rows, others := liveRows{to: to}, newParts(to)
	return eachChange(ctx, p.store.Watch(ctx), pauseFor(q.Limit), func() error {
		found, err := p.find(ctx, q)
		if err != nil {
			return err
		}
		if err := rows.send(found.Loops); err != nil {
			return err
		}
		return others.send(web.Piece{ID: pagerID, Node: loopPager(&at, found.Next)})
	})
}

// eachChange looks at once, and then after each change, with a pause between two looks.
func eachChange(ctx context.Context, changes <-chan []string, pause time.Duration, look func() error) error {
	for more := true; more; _, more = <-changes {
		if err := look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// liveRows sends to a page the rows of its list that are new or have changed, and the order of all.
type liveRows struct {
	to *httpdoor.Events
	// sent are those of the page, by the id of the row, nil before the first are sent. Those that left it are sent anew when they
	// come again: the page has dropped them.
	sent  map[string]loops.Summary
	order string
}

func (l *liveRows) send(all []loops.Summary) error {
	now, ids, changed := map[string]loops.Summary{}, []string{}, []g.Node{}
	for _, one := range all {
		id := rowID(one.ID)
		if sent, known := l.sent[id]; !known || sent != one {
			changed = append(changed, loopRow(one).Node())
		}
		now[id], ids = one, append(ids, id)
	}
	order := strings.Join(ids, " ")
	if l.sent != nil && len(changed) == 0 && order == l.order {
		return nil
	}
	l.sent, l.order = now, order
	var b bytes.Buffer
	if err := html.TBody(html.Data("rows", rowsID), html.Data("order", order), g.Group(changed)).Render(&b); err != nil {
		return err
	}
	return l.to.Send("rows", b.Bytes())
}

// oneLive sends the parts of a loop's page that have changed.
func (p *loopPages) oneLive(ctx context.Context, r *httpdoor.Request, to *httpdoor.Events) error {
	id := p.desk.called.id(r.Param("id"))
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
	return page.send(p.storyParts(s)...)
}
