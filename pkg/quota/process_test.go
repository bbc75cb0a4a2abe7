package quota

import (
	"os/exec"
	"testing"
	"time"
)

func TestPlacesOfAProcessThatEndedHereAreFree(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Skip("no command to run:", err)
	}
	me := self()
	running := exec.CommandContext(t.Context(), "sleep", "60")
	if err := running.Start(); err != nil {
		t.Skip("no command to run:", err)
	}
	now := time.Now()
	r := &record{}
	for name, of := range map[string]process{
		"ours":                   me,
		"of our predecessor":     {Where: me.Where, PID: me.PID, Life: "before"},
		"of one that ended":      {Where: me.Where, PID: ended.Process.Pid, Life: "other"},
		"of one beside":          {Where: me.Where, PID: running.Process.Pid, Life: "other"},
		"of one elsewhere":       {Where: "another host", PID: me.PID, Life: "other"},
		"of an earlier version":  {},
		"of one that never says": {Where: "another host", PID: 7, Life: "silent"},
	} {
		p := &places{Held: 1, Until: now.Add(time.Minute), Of: of}
		if of.Life == "silent" {
			p.Until = now.Add(-time.Second)
		}
		r.put(name, p)
	}
	r.sweep(now)
	for name, kept := range map[string]bool{
		"ours": true, "of our predecessor": false, "of one that ended": false, "of one beside": true, "of one elsewhere": true,
		"of an earlier version": true, "of one that never says": false,
	} {
		if got := r.Places[name] != nil; got != kept {
			t.Errorf("places %s: kept %v, want %v", name, got, kept)
		}
	}
}
