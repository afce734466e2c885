#!/usr/bin/python3
# signer.py signs for Holdfast with the key in the file that key= names. It takes
# messages. Replace open_key and sign with calls of your service.
import base64
import json
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
key = None


def open_key(request):
    global key
    with open(request["key"], "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"version": 1, "public_key": public.decode(), "input": "message"}


def sign(request):
    message, name = base64.b64decode(request["message"]), request["algorithm"]
    hash = HASHES.get(name.rpartition("_")[2])
    if name == "ed25519":
        signature = key.sign(message)
    elif name.startswith("ecdsa_"):
        signature = key.sign(message, ec.ECDSA(hash))
    elif name.startswith("rsa_pss_"):
        signature = key.sign(message, padding.PSS(padding.MGF1(hash), request["salt_length"]), hash)
    else:
        signature = key.sign(message, padding.PKCS1v15(), hash)
    return {"signature": base64.b64encode(signature).decode()}


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"open": open_key, "sign": sign}[request["request"]](request)
    except FileNotFoundError as error:
        answer = {"error": {"code": "not-found", "message": str(error)}}
    except Exception as error:
        answer = {"error": {"code": "failed", "message": str(error)}}
    print(json.dumps({"id": request["id"], **answer}), flush=True)
