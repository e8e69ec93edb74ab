package main

import (
	"context"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"rtmps-edge/notify"
	"rtmps-edge/proxy"
)

// lastNews is how long backends that are told of events have to take what is
// waiting, when the edge ends or no longer tells them.
const lastNews = 5 * time.Second

// notifiers tell backends. They are changed by a reload while events come.
type notifiers struct{ list atomic.Pointer[[]*notifier] }

// notifier is one with what it was made of.
type notifier struct {
	*notify.Notifier
	cfg notify.Config
}

// Observe implements proxy.Observer.
func (n *notifiers) Observe(e proxy.Event) {
	for _, one := range n.get() {
		one.Observe(e)
	}
}

func (n *notifiers) get() []*notifier {
	if list := n.list.Load(); list != nil {
		return *list
	}
	return nil
}

// build makes those of a configuration. One that stays the same is kept with what
// waits in it.
func (n *notifiers) build(e *edge, cfgs []notify.Config) ([]*notifier, error) {
	var list []*notifier
	for _, cfg := range cfgs {
		i := slices.IndexFunc(n.get(), func(o *notifier) bool { return reflect.DeepEqual(o.cfg, cfg) && !slices.Contains(list, o) })
		if i >= 0 {
			list = append(list, n.get()[i])
			continue
		}
		it, err := notify.New(cfg, notify.Options{Log: e.log, Count: e.steer.metrics.Notified})
		if err != nil {
			return nil, err
		}
		list = append(list, &notifier{it, cfg})
	}
	return list, nil
}

// use puts a list in force. Those that are not in it tell what they know.
func (n *notifiers) use(e *edge, list []*notifier) {
	before := n.get()
	n.list.Store(&list)
	for _, one := range before {
		if !slices.Contains(list, one) {
			e.serving.Go(func() { farewell(one) })
		}
	}
}

// close tells what is waiting everywhere.
func (n *notifiers) close(e *edge) { n.use(e, nil) }

func farewell(n *notifier) {
	ctx, cancel := context.WithTimeout(context.Background(), lastNews)
	defer cancel()
	n.Close(ctx)
}
