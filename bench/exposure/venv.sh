# Sourced: sets `python` to an interpreter that has requirements.txt, in VENV or bench/exposure/venv.
venv=${VENV:-$here/venv}
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3.11 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi
python=$venv/bin/python
