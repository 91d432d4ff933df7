// Package fluo has Flatcar's update operator (FLUO) wait for the next kernel's driver, so that
// no node reboots into a kernel without a proven one. The operator labels a node that it is
// about to reboot before-reboot=true, and goes on once each annotation that its option
// --before-reboot-annotations names is "true" there. [Gate] sets [Annotation] on such nodes,
// by what the agent of the node says (pkg/nextkernel).
//
// # How the gate learns what an agent says
//
// It asks it, over the pods' network. Agents need no right in the cluster for that, as they
// would to write it down there: who may annotate nodes may annotate all of them, and who may
// change the pods of a privileged namespace is root on every node. Their pods' readiness,
// which the kubelet would write down for them, is as old as the last probe, and says ready or
// not without saying of which update; and a node that waits is no pod that is broken. Labels by
// Node Feature Discovery are a minute old, and count for a quarter of an hour.
//
// # Races
//
// Everything turns on one order: update_engine leaves its mark, and only then tells anybody
// that the node wants to reboot; so the operator's label is younger than the mark, the gate's
// question is younger than the label, and the agent's answer is by a look at the host that
// began after the question (nextkernel, "What an answer is worth"). An answer that it is ready
// is of the very update that the operator wants to reboot for, also where the label was there
// before the agent had noticed anything. Beside that:
//
//   - The answer names the boot of the host, which has to be the node's: another host that has
//     got the pod's address in the meantime says nothing of this one, and nor does an answer
//     from before a reboot.
//   - The annotation is written on the node as it was read (by its resourceVersion). Where the
//     operator has taken its label off meanwhile it is not written, so none is left behind for
//     the next reboot; the operator itself removes it before and after each.
//   - The operator's annotation new-version is not compared. It is 0.0.0 once update_engine
//     was started again after an update was staged, and a node would wait for ever.
//   - "Nothing is staged" is enough where somebody wants to reboot the node for another reason,
//     and is not where the operator's own status says that an update needs the reboot: one of
//     them is mistaken.
//   - Where the gate does not run, or cannot ask, nothing is true, and the node waits. Its
//     annotation says why: "false: " and a sentence.
//
// A node for which no agent is meant, as it has no GPU, is let go at once. That is decided as
// the DaemonSet's controller decides it, by the affinity of the agents' own DaemonSet. Whoever
// wants a node to reboot all the same says so by [Override] on it.
//
// Sources: flatcar/flatcar-linux-update-operator, pkg/operator/operator.go (cleanupState,
// checkBeforeReboot, markBeforeReboot), pkg/agent/agent.go and pkg/constants; its
// doc/before-after-reboot-checks.md.
package fluo
