package fusefs

import "testing"

// An end is how a process ends that was opening the image.
type end struct {
	slow bool // others were served meanwhile
	grew bool // it took much memory
	text bool // it failed of itself, and said so
}

// A journal says that an image must not be opened again once that has ended two
// processes: the first made it suspected, and the second did nothing else.
func TestOpeningThatEndsProcesses(t *testing.T) {
	kill, fail, starve := end{}, end{text: true}, end{grew: true, slow: true}
	repeat := func(e end, n int) (ends []end) {
		for range n {
			ends = append(ends, e)
		}
		return ends
	}
	for name, tt := range map[string]struct {
		ends    []end
		refused bool
	}{
		"nothing":                   {nil, false},
		"one failure":               {[]end{fail}, false},
		"two failures":              {[]end{fail, fail}, true},
		"a kill between":            {[]end{fail, kill, fail}, true},
		"a failure among others":    {[]end{fail, {slow: true, text: true}}, false},
		"out of memory once":        {[]end{starve}, false},
		"out of memory twice":       {[]end{starve, starve}, true},
		"out of memory, then fails": {[]end{starve, fail}, true},
		"kills":                     {repeat(kill, maxDeaths-1), false},
		"too many kills":            {repeat(kill, maxDeaths), true},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := NewJournal()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = j.Close() })
			for i, e := range tt.ends {
				if !j.BeginOpen() {
					t.Fatalf("process %d may not open it", i)
				}
				e.happen(j)
				if e.text {
					j.Accuse()
					j.Accuse() // by one that ended before it had told all journals
				}
				j.SuspectsOpening()
			}
			if may := j.BeginOpen(); may == tt.refused {
				t.Errorf("the next process may open it: %v", may)
			}
			j.EndOpen()
			if tt.refused {
				return
			}
			if j.SuspectsOpening() || !j.BeginOpen() {
				t.Error("something is left of it after it was opened")
			}
		})
	}
}

func (e end) happen(j *Journal) {
	if e.grew {
		j.Grew()
	}
	if e.slow {
		j.EndTrial()
	}
}

// What happens while an image is not being opened says nothing of it.
func TestFailureWhileNothingIsOpened(t *testing.T) {
	j, err := NewJournal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	for range 2 {
		if !j.BeginOpen() {
			t.Fatal("it may not be opened")
		}
		j.EndOpen()
		j.Grew()
		j.Accuse()
		if j.SuspectsOpening() {
			t.Error("opening is suspected")
		}
	}
}
