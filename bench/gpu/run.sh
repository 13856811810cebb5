#!/bin/sh
# Unpacks what bench/gpu/pack.ts has packed and runs `deno task bench:gpu`, on a machine without a network.
# Usage: sh run.sh <folder of results> [flags of bench:gpu], with any of these in the environment:
#   UNPACKED=/tmp/dualora_gpu  where it is unpacked to
#   CARD=NVIDIA                what the adapter's name has to have in it; until it does, other ways to the driver are tried
set -eu
packed=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "Usage: sh run.sh <folder of results> [flags of bench:gpu]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
to=${UNPACKED:-${TMPDIR:-/tmp}/dualora_gpu}
mkdir -p "$to/project"
: >"$out/setup.txt"
say() { echo "$*" >>"$out/setup.txt"; }

unxz() { # file, on stdout
  if command -v xz >/dev/null; then xz -dc "$1"; else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
  fi
}
unxz "$packed/deno.xz" >"$to/deno"
chmod +x "$to/deno"
unxz "$packed/project.tar.xz" | tar -xf - -C "$to/project"

if [ -d "$packed/wheels" ] && ! python3 -c 'import diffusers' 2>/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$to/python" "$packed"/wheels/*.whl ||
    echo "diffusers could not be unpacked: PyTorch's pieces will have no figures" >&2
  export PYTHONPATH="$to/python${PYTHONPATH:+:$PYTHONPATH}"
fi

# Libraries go into folders of their own, and only those that the system lacks are used: other versions of its own can break it.
has_library() { ldconfig -p 2>/dev/null | grep -q "$1 "; }
use_libraries() { # name of a part
  [ -d "$packed/$1" ] || return 0
  case ":${LD_LIBRARY_PATH:-}:" in *":$to/$1/"*) return 0 ;; esac
  for package in "$packed/$1"/*.deb; do dpkg -x "$package" "$to/$1"; done
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$to/$1/usr/lib/x86_64-linux-gnu"
}
has_library libvulkan.so.1 || use_libraries vulkan
has_library libGLX.so.0 || use_libraries gl
has_library libX11.so.6 || use_libraries x11

# Older loaders know the second name alone.
use_driver() { export VK_DRIVER_FILES="$1" VK_ICD_FILENAMES="$1"; }
drivers=$(find /etc /usr /opt /run -name 'nvidia_icd*.json' 2>/dev/null || true)
own_driver() { # library, which the system finds
  echo "{\"file_format_version\": \"1.0.0\", \"ICD\": {\"library_path\": \"$1\", \"api_version\": \"1.3.0\"}}" >"$to/$1.json"
  use_driver "$to/$1.json"
}

# Without a Vulkan driver Deno would take OpenGL without a word.
export DENO_WEBGPU_BACKEND=vulkan DENO_DIR="$to/cache" DENO_NO_UPDATE_CHECK=1 DUALORA_CACHE="$to/dualora" HF_HUB_OFFLINE=1
adapter() { "$to/deno" eval 'const a = await navigator.gpu.requestAdapter(); console.log(a ? a.info.description || a.info.vendor : "no adapter")' 2>&1 | tail -n 1; }
is_found() { # way
  name=$(adapter)
  say "$1: $name; VK_DRIVER_FILES=${VK_DRIVER_FILES:-} LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
  case "$name" in *"$card"*) return 0 ;; *) return 1 ;; esac
}

say "$(ls /dev/nvidia* /dev/dri 2>&1 | tr '\n' ' ')"
say "$(ldconfig -p 2>/dev/null | grep -E 'libvulkan.so|lib(GLX|EGL)_nvidia|libX11.so' || true)"
say "$drivers"
say "$(lscpu 2>/dev/null | grep -E '^(Model name|CPU\(s\)):' || true)"
card=${CARD-$(nvidia-smi -L >/dev/null 2>&1 && echo NVIDIA || true)}
find_card() {
  is_found "as the system is" && return
  first=$(echo "$drivers" | head -n 1)
  [ -n "$first" ] && use_driver "$first" && is_found "the driver's file" && return
  for part in vulkan gl x11; do use_libraries "$part"; done
  is_found "all libraries" && return
  for library in libGLX_nvidia.so.0 libEGL_nvidia.so.0; do
    own_driver "$library"
    is_found "a file of its own" && return
  done
  unset VK_DRIVER_FILES VK_ICD_FILENAMES
  echo "No adapter has $card in its name: $out/setup.txt says what was tried" >&2
}
find_card

export PATH="$to:$PATH"
# Programs may write in /tmp, and are not told of another place.
unset TMPDIR
cd "$to/project"
exec "$to/deno" task bench:gpu --out="$out" "$@"
