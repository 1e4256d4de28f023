# Processes that outlive the script which starts them; sourced by every script here that starts or ends some.
# A pid file holds "pid starttime", so a recycled pid is never signalled. Whatever is started sits in a cgroup of the cluster's
# own as well: `down` finds there what an interrupted `up` did not come to write down.
HOST_CGROUP=/sys/fs/cgroup/pids/$CLUSTER_CGROUP/host

starttime() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}' || true; }   # a zombie counts as gone
alive() { local pid since; read -r pid since 2>/dev/null <"$1" || return 1; [ -n "$since" ] && [ "$(starttime "$pid")" = "$since" ]; }
pid_of() { local pid since; alive "$1" && read -r pid since <"$1" && echo "$pid"; }

stop_pid() { # pid file, signal: ends it and waits
  local pid
  pid=$(pid_of "$1") || { rm -f "$1"; return 0; }
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 100); do alive "$1" || break; sleep 0.05; done
  ! alive "$1" || kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1"
}

detached() { # pid file ("" = none), log, command: the child enters the cgroup and writes its own pid file before it becomes the command
  local file=$1 log=$2; shift 2
  mkdir -p "$HOST_CGROUP"
  # shellcheck disable=SC2016
  setsid sh -c '
    echo $$ >"$1/cgroup.procs"
    [ -z "$2" ] || echo "$$ $(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)" >"$2"
    shift 2; exec "$@"' sh "$HOST_CGROUP" "$file" "$@" >>"$log" 2>&1 </dev/null 9<&- &
}

daemon() { # name, command: a process of the control plane, unless it lives already
  local name=$1; shift
  alive "$S/run/$name.pid" && return 0
  rm -f "$S/run/$name.pid"
  detached "$S/run/$name.pid" "$S/log/$name.log" "$@"
  wait_for 10 "$name's pid file" test -s "$S/run/$name.pid"
}

wait_for() { # seconds, what, command: until it succeeds
  local seconds=$1 what=$2 end
  end=$(($(date +%s) + seconds)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || { say "waited $seconds s in vain for $what: see $S/log" >&2; return 1; }
    sleep 0.1
  done
}

only_one() { # one script at a time changes a cluster. The lock is on the folder itself: nothing is left behind, and 9 is closed in children
  mkdir -p "$1"
  exec 9<"$1"
  flock -w "${2:-0}" 9 || refuse "another script is at work in $1: wait for it"
}

in_node() { # N, command: runs it in the node's namespaces
  local pid
  pid=$(pid_of "$S/run/node$1.pid") || { say "node$1 is down: hack/cluster/node start $1" >&2; return 1; }
  shift
  nsenter -t "$pid" -n -m -u -i -p -- "$@"
}

remove_cgroups() { # directory below each controller; what just died leaves its cgroup a moment later
  local left directory
  for _ in $(seq 50); do
    left=
    for directory in /sys/fs/cgroup/*/"$1"; do
      [ ! -d "$directory" ] || find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null || left=$directory
    done
    [ -n "$left" ] || return 0
    sleep 0.1
  done
  say "cannot remove the cgroup $left" >&2
  return 1
}
