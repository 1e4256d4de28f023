#!/usr/bin/env bash
# `make deploy` and `make undeploy`: CRDs and config/ into the cluster of KUBECONFIG, else into the one of `make cluster-up`.
# Needs kubectl only. IMAGE_PREFIX and IMAGE_TAG name the images; they must be in the nodes or to be pulled (`make images`).
# Run it again at any time: it applies what differs. undeploy keeps CRDs, and so every job and endpoint, unless CRDS=1.
set -euo pipefail
cd "$(dirname "$0")/.."
IMAGE_PREFIX=${IMAGE_PREFIX:-ringyard}
IMAGE_TAG=${IMAGE_TAG:-dev}
DEPLOY_TIMEOUT=${DEPLOY_TIMEOUT:-120s}
NAMESPACE=ringyard-system
CRDS_FOLDER=charts/ringyard/files/crds

say() { printf 'ringyard: %s\n' "$*"; }
refuse() { printf 'ringyard: %s\n' "$*" >&2; exit 2; }

# Ours of `make cluster-up` has the cluster's version, and its kubeconfig is the default.
cache=${RINGYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ringyard}/cluster
export PATH=${CLUSTER_BIN:-$cache/bin}:$PATH
command -v kubectl >/dev/null || refuse "no kubectl: install one, or let \`make cluster-up\` build one"
if [ -z "${KUBECONFIG:-}" ]; then
  export KUBECONFIG=${CLUSTER_STATE:-$cache/state}/admin.kubeconfig
  [ -f "$KUBECONFIG" ] || refuse "no cluster: \`make cluster-up\` makes one, or set KUBECONFIG to one of yours"
fi
kubectl version --request-timeout=10s >/dev/null 2>&1 ||
  refuse "the cluster of $KUBECONFIG does not answer: is it up?"

manifests() { # config/ with the image names of this installation
  local file
  for file in config/*.yaml; do echo ---; cat "$file"; done |
    sed -E "s#ringyard/(operator|trainer|serving):dev#$IMAGE_PREFIX/\1:$IMAGE_TAG#"
}

deploy() {
  kubectl apply --server-side --force-conflicts -f "$CRDS_FOLDER"
  kubectl wait --for=condition=Established --timeout=30s -f "$CRDS_FOLDER" >/dev/null
  manifests | kubectl apply --server-side --force-conflicts -f -
  if ! kubectl -n "$NAMESPACE" rollout status deployment/ringyard-operator --timeout="$DEPLOY_TIMEOUT"; then
    kubectl -n "$NAMESPACE" get pods -o wide >&2
    kubectl -n "$NAMESPACE" get events --field-selector type=Warning -o custom-columns=:.message >&2 | tail -5
    refuse "the operator is not available: see above; \`make images\` brings $IMAGE_PREFIX/operator:$IMAGE_TAG to the nodes"
  fi
  say "the operator is in office. Next: kubectl apply -f examples/minimal.yaml; kubectl get tj --watch"
}

undeploy() {
  manifests | kubectl delete --ignore-not-found --timeout=60s -f -
  if [ "${CRDS:-}" = 1 ]; then
    kubectl delete --ignore-not-found --timeout=120s -f "$CRDS_FOLDER"
  else
    say "the CRDs stay, with every TrainingJob and ModelEndpoint: CRDS=1 make undeploy deletes those too"
  fi
}

case "${1:-}" in
  deploy | undeploy) "$1" ;;
  *) refuse "usage: hack/deploy.sh deploy|undeploy" ;;
esac
