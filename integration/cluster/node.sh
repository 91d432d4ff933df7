# shellcheck shell=bash
# One node of a cluster: containerd and its kubelet, in a container. It ends with either.
# Usage: node.sh NAME CGROUP
name=$1 cgroup=$2
mount --make-rshared /
mkdir -p /lib/modules /run/node /run/containerd /etc/cni/net.d

# A kubelet sets these, and a pod of ours the firmware's path: not those of the machine.
overlay() {
	[ -e "$1" ] || return 0
	printf '%s\n' "$2" > "/run/node/${1//\//-}"
	mount --bind "/run/node/${1//\//-}" "$1"
}
overlay /proc/sys/vm/overcommit_memory 1
overlay /proc/sys/kernel/panic 10
overlay /proc/sys/kernel/panic_on_oops 1
overlay /sys/module/firmware_class/parameters/path ''

# What the pods get is below one group of each hierarchy, for the test to remove.
for hierarchy in /sys/fs/cgroup/*/; do
	mkdir -p "$hierarchy$cgroup"
	for of in cpuset.cpus cpuset.mems; do
		[ ! -e "$hierarchy$of" ] || cat "$hierarchy$of" > "$hierarchy$cgroup/$of"
	done
done

# The cluster's own address of its API server, which pods are told; and further ports of it.
ip address replace 10.96.0.1/32 dev lo
for socket in /relay/*; do
	socat "TCP-LISTEN:${socket##*/},bind=10.96.0.1,fork,reuseaddr" "UNIX-CONNECT:$socket" &
done

cat > /etc/cni/net.d/10-bridge.conflist <<'EOF'
{"cniVersion": "1.0.0", "name": "bridge", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
EOF
cat > /run/node/containerd.toml <<'EOF'
version = 3
oom_score = 0
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'pause:1'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '/etc/cni/net.d'
EOF
cat > /run/node/kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
readOnlyPort: 0
authentication: { anonymous: { enabled: false }, webhook: { enabled: false } }
authorization: { mode: AlwaysAllow }
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
evictionHard: { memory.available: 100Mi }
imageGCHighThresholdPercent: 100
EOF
rm -f /run/containerd/*.sock*
containerd --config /run/node/containerd.toml > /var/log/containerd.log 2>&1 &
runtime=$!
until ctr version > /dev/null 2>&1; do
	sleep 0.2
	kill -0 $runtime
done
[ ! -e /images.tar ] || ctr --namespace k8s.io images import /images.tar > /dev/null
kubelet --config /run/node/kubelet.yaml --kubeconfig /plane/node.kubeconfig --hostname-override "$name" \
	--node-labels nvidia.com/gpu.present=true > /var/log/kubelet.log 2>&1 &
wait -n $runtime $!
