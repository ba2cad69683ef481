// Package rollout decides which targets get a new version of the syncer next. A version is everything that the controller decides
// for all syncers alike: the image, the address of kcp and the like.
//
// A target whose syncer is Ready has something to lose, so such targets get a new version in waves. State says how far a target
// is, by what is installed and by its conditions, so that a controller that was restarted comes to the same result. Decide takes
// all targets and returns those that may begin.
package rollout
