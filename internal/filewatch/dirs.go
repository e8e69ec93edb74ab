package filewatch

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// maxLinks is how many links are followed from one file: more than any layout
// has, and an end for links that run in a circle.
const maxLinks = 16

// point makes w watch the directories of files, and no others. What cannot be
// watched is left to the poll.
func point(w *fsnotify.Watcher, files []string) {
	want := dirs(files)
	for _, dir := range w.WatchList() {
		if !slices.Contains(want, dir) {
			_ = w.Remove(dir)
		}
	}
	for _, dir := range want {
		_ = w.Add(dir) // also if it is watched: it may be another by now
	}
}

// dirs returns the directories in which a change may concern one of files:
// each file's own, and that of every link on the way to its contents, as
// certbot (live to archive) and Kubernetes (..data) make them.
func dirs(files []string) []string {
	var all []string
	for _, file := range files {
		if end, err := filepath.EvalSymlinks(file); err == nil {
			all = append(all, filepath.Dir(end))
		}
		for range maxLinks {
			all = append(all, filepath.Dir(file))
			to, err := os.Readlink(file)
			if err != nil {
				break
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(file), to)
			}
			file = to
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
