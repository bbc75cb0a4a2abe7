package loops

// lately holds the loops that were written last, as they are in the file: most of what comes is about these. It belongs to
// whoever writes.
type lately struct {
	young, old map[string]written
	bytes      int
}

// written is a loop as it stands in the file.
type written struct {
	n      int64
	packed []byte
}

// latelyBytes is about half of what is held.
const latelyBytes = 1 << 20

func (l *lately) get(loop string) (written, bool) {
	w, ok := l.young[loop]
	if !ok {
		w, ok = l.old[loop]
	}
	return w, ok
}

func (l *lately) put(loop string, w written) {
	if l.young == nil || l.bytes > latelyBytes {
		l.young, l.old, l.bytes = map[string]written{}, l.young, 0
	}
	delete(l.old, loop)
	l.young[loop] = w
	l.bytes += len(w.packed) + len(loop)
}

func (l *lately) remove(loop string) {
	delete(l.young, loop)
	delete(l.old, loop)
}

func (l *lately) clear() { l.young, l.old, l.bytes = nil, nil, 0 }
