#!/bin/sh
# What the Helm controller's jobs run, by the environment that the controller gives them: a chart installed, upgraded or uninstalled.
# Its last word goes where the kubelet reads why a container ended.
set -u
export HOME=/home/klipper-helm
log=/tmp/log

say() { echo "$*" | tee -a $log; }

finish() {
    tail -c 2048 $log > /dev/termination-log
    exit "$1"
}

run() {
    say "+ helm $*"
    helm "$@" > /tmp/out 2>&1
    code=$?
    tee -a $log < /tmp/out
    return $code
}

release() { helm list --all --namespace "$TARGET_NAMESPACE" --filter "^$NAME\$" --output json; }

action=$1
shift
if [ "$action" = delete ]; then
    [ "$(release)" = "[]" ] || run uninstall "$NAME" --namespace "$TARGET_NAMESPACE" --wait || finish 1
    finish 0
fi

chart=$CHART
options=""
if [ -s "/chart/$NAME.tgz.base64" ]; then
    chart=/tmp/$NAME.tgz
    base64 -d "/chart/$NAME.tgz.base64" > "$chart"
elif [ -n "$REPO" ]; then
    credentials=""
    [ -d /auth ] && credentials="--username=$(cat /auth/username) --password=$(cat /auth/password)"
    authority=""
    [ -f /config/ca-file.pem ] && authority="--ca-file=/config/ca-file.pem"
    run repo add "${NAME%%/*}" "$REPO" $authority $credentials || finish 1
    run repo update || finish 1
fi
[ -f /config/ca-file.pem ] && options="$options --ca-file=/config/ca-file.pem"
[ "${PLAIN_HTTP:-false}" = true ] && options="$options --plain-http"
[ "${INSECURE_SKIP_TLS_VERIFY:-false}" = true ] && options="$options --insecure-skip-tls-verify"
[ -n "${TIMEOUT:-}" ] && options="$options --timeout=$TIMEOUT"
for file in /config/values-*.yaml; do
    [ -f "$file" ] && options="$options --values=$file"
done
labels="helmcharts.helm.cattle.io/configHash=${CONFIG_HASH:-}"

status=$(release | sed -n 's/.*"status":"\([^"]*\)".*/\1/p')
say "release $NAME in $TARGET_NAMESPACE: ${status:-none}"
case "$status" in
"")
    run install "$@" $options --labels "$labels" "$NAME" "$chart" || finish 1
    ;;
deployed)
    run upgrade "$@" $options --labels "$labels" "$NAME" "$chart" || finish 1
    ;;
*)
    case "${FAILURE_POLICY:-reinstall}" in
    abort)
        say "Error: release $NAME is $status and the failure policy is abort"
        finish 1
        ;;
    reinstall)
        run uninstall "$NAME" --namespace "$TARGET_NAMESPACE" --wait || finish 1
        run install "$@" $options --labels "$labels" "$NAME" "$chart" || finish 1
        ;;
    *)
        run upgrade "$@" $options --labels "$labels" "$NAME" "$chart" || finish 1
        ;;
    esac
    ;;
esac
finish 0
