#!/bin/sh
# signer.sh signs for Holdfast with OpenSSL and the key in the file that key= names. It
# takes digests.
set -u
file=

fail() { # CODE MESSAGE
    jq -cn --argjson id "$id" --arg code "$1" --arg message "$2" \
        '{id: $id, error: {code: $code, message: $message}}'
}

while IFS= read -r line; do
    eval "$(printf '%s\n' "$line" | jq -r '@sh "id=\(.id) request=\(.request) key=\(.key)
        algorithm=\(.algorithm) salt=\(.salt_length) digest=\(.digest)"')"
    case $request in
    open)
        file=$key
        if [ ! -e "$file" ]; then
            fail not-found "there is no file $file"
        elif public=$(openssl pkey -in "$file" -pubout); then
            jq -cn --argjson id "$id" --arg key "$public" \
                '{id: $id, version: 1, public_key: $key, input: "digest"}'
        else
            fail failed "OpenSSL cannot read $file"
        fi
        ;;
    sign)
        set -- -pkeyopt "digest:${algorithm##*_}"
        case $algorithm in
        rsa_pss_*) set -- "$@" -pkeyopt rsa_padding_mode:pss -pkeyopt "rsa_pss_saltlen:$salt" ;;
        esac
        signature=$(printf '%s' "$digest" | openssl base64 -d -A |
            openssl pkeyutl -sign -inkey "$file" "$@" | openssl base64 -A)
        if [ -n "$signature" ]; then
            jq -cn --argjson id "$id" --arg signature "$signature" '{id: $id, signature: $signature}'
        else
            fail failed "OpenSSL makes no signature"
        fi
        ;;
    *) fail unsupported "the request $request is unknown" ;;
    esac
done
