# Asks holdfast.service, which systemd has started, for its state.
systemctl show holdfast.service -p ActiveState -p User -p NRestarts
pid=$(systemctl show -P MainPID holdfast.service)
sed -n 's/^NoNewPrivs:\t/NoNewPrivs=/p; s/^Seccomp:\t/Seccomp=/p; s/^CapEff:\t/CapEff=/p' "/proc/$pid/status"
exec 3<>/dev/tcp/127.0.0.1/9912
printf 'GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:9912\r\n\r\n' >&3
read -r _ status _ <&3
echo "Ready=$status"
exec 3<>/dev/tcp/127.0.0.1/9911
printf 'GET /credentials HTTP/1.0\r\nHost: 127.0.0.1:9911\r\nAuthorization: %s\r\n\r\n' "$(cat /run/holdfast/serve-127.0.0.1-9911.token)" >&3
echo "Credentials=$(grep -c AccessKeyId <&3)"
stat -c 'Token=%a %U' /run/holdfast/serve-127.0.0.1-9911.token
systemctl reload holdfast.service && echo Reload=done
systemctl show holdfast.service -p ActiveState | sed s/^/AfterReload/
journalctl --no-pager -o cat -u holdfast.service -u emulator.service >&2
