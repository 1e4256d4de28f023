# What can be chosen about the throw-away cluster, with its defaults; sourced by every script here. `up` writes the values down in
# $CLUSTER_STATE/settings, so that later commands on the same cluster need nothing but CLUSTER_STATE. A second cluster beside
# a first needs its own CLUSTER_STATE, CLUSTER_BRIDGE, CLUSTER_NET, CLUSTER_PODS, CLUSTER_SERVICES, CLUSTER_CGROUP and CLUSTER_ETCD_PORT.
CLUSTER_CACHE=${RINGYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ringyard}/cluster
export CLUSTER_STATE=${CLUSTER_STATE:-$CLUSTER_CACHE/state}   # keys, logs, etcd, nodes, kubeconfigs; `down` removes it
S=$CLUSTER_STATE
ASKED_NODES=${CLUSTER_NODES:-}
# shellcheck disable=SC1091
[ ! -f "$S/settings" ] || . "$S/settings"
CLUSTER_BIN=${CLUSTER_BIN:-$CLUSTER_CACHE/bin}                 # the binaries that `build` made
CLUSTER_IMAGES=${CLUSTER_IMAGES:-$CLUSTER_CACHE/images}        # the images that every node starts with; `down` keeps it
CLUSTER_NODES=${CLUSTER_NODES:-3}                              # 1 to 9
CLUSTER_GPUS=${CLUSTER_GPUS:-8}                                # nvidia.com/gpu of each node: a number only, no device behind it
CLUSTER_BRIDGE=${CLUSTER_BRIDGE:-ringyard0}                    # bridge of this machine, nodes and control plane on it
CLUSTER_VETH=${CLUSTER_VETH:-${CLUSTER_BRIDGE}n}               # node N's cable to it, with N behind
CLUSTER_NET=${CLUSTER_NET:-172.29.7}                           # .1 = this machine (control plane, DNS), .1N = node N
CLUSTER_PODS=${CLUSTER_PODS:-10.245}                           # node N has pods in $CLUSTER_PODS.N.0/24
CLUSTER_SERVICES=${CLUSTER_SERVICES:-10.97}                    # Services in $CLUSTER_SERVICES.0.0/16
CLUSTER_CGROUP=${CLUSTER_CGROUP:-ringyard}                     # directory made in every cgroup v1 controller
CLUSTER_ETCD_PORT=${CLUSTER_ETCD_PORT:-12379}                  # and the next one, on 127.0.0.1
CLUSTER_NODE_GRACE=${CLUSTER_NODE_GRACE:-20s}                  # a silent node is found dead after that
CLUSTER_CNI=${CLUSTER_CNI:-/usr/lib/cni}                       # the CNI plugins (Debian's containernetworking-plugins)
SETTINGS="BIN IMAGES NODES GPUS BRIDGE VETH NET PODS SERVICES CGROUP ETCD_PORT NODE_GRACE CNI"

KUBERNETES=1.36.3
ADDRESS=$CLUSTER_NET.1
export KUBECONFIG=$S/admin.kubeconfig
KUBECTL=$CLUSTER_BIN/kubectl
# containerd takes its shim from PATH, and another version's shim breaks every pod: the nodes' PATH is fixed.
NODE_PATH=$CLUSTER_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1      # cgroup v1, said at every call of ctr

owner() { # the state folder of the cluster that the bridge is of; "" = there is no such bridge
  local file=/sys/class/net/$CLUSTER_BRIDGE/ifalias
  [ -e "$file" ] || return 0
  local found; found=$(cat "$file")
  [ -n "$found" ] || [ ! -f "$S/settings" ] || found=$S      # interrupted before it was said
  echo "${found:-somebody else}"
}
say() { printf 'ringyard: %s\n' "$*"; }
refuse() { printf 'ringyard: %s\n' "$*" >&2; exit 2; }
