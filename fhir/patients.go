package fhir

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// How many patients are kept, and for how long: fourteen documents of one patient that come together ask once, and nobody
// is told by what a patient was a minute ago.
const (
	patientsKept = 512
	patientFor   = 10 * time.Second
)

// patients are those that were read a moment ago. It has no expiry of its own, which would need a goroutine.
type patients struct {
	cache *otter.Cache[string, seen]
}

// seen is a patient as its source showed it. It is shared, and never changed.
type seen struct {
	patient  *node
	standing Standing
	at       time.Time
}

func newPatients() patients {
	return patients{cache: otter.Must(&otter.Options[string, seen]{MaximumSize: patientsKept})}
}

// readPatient reads a patient, once for all who ask at the same time.
func (s *Source) readPatient(ctx context.Context, id string) (*node, Standing, error) {
	load := func(ctx context.Context, id string) (seen, error) {
		// Others wait for it: that the first one who asked goes away must not cost them theirs.
		n, standing, err := s.read(context.WithoutCancel(ctx), "Patient", id)
		return seen{n, standing, s.o.Now()}, err
	}
	if known, is := s.patients.cache.GetIfPresent(id); is && s.o.Now().Sub(known.at) > patientFor {
		s.patients.cache.Invalidate(id)
	}
	got, err := s.patients.cache.Get(ctx, id, otter.LoaderFunc[string, seen](load))
	if err == nil && got.patient == nil {
		s.patients.cache.Invalidate(id) // it may be written any moment
	}
	return got.patient, got.standing, err
}
