#!/bin/sh
# Starts a program of the bundle; bin/sherd, bin/mpirun and the others are links to this. `bin/run COMMAND...` starts any
# other command with the same settings. Open MPI finds its plugins through OPAL_PREFIX, which holds for this process and
# what it starts, not for the shell: another MPI there would go looking in the wrong place.
root=$(dirname "$(dirname "$(readlink -f "$0")")")
built_for=@SHERD_MARCH@
if [ "$built_for" = x86-64-v3 ] && [ -r /proc/cpuinfo ] && ! grep -q '^flags.* avx2' /proc/cpuinfo; then
  echo "${0##*/}: this CPU has no AVX2, and the bundle is built for $built_for; build Sherd on this machine" >&2
  exit 2
fi
export PATH="$root/bin:$PATH"
if ! [ -L "$root/mpi" ] && ! [ -L "$root/mpi/lib" ]; then  # else the cluster's own, which knows where it is
  export OPAL_PREFIX="$root/mpi" OPAL_SYSCONFDIR="$root/mpi/etc/openmpi"
  export PMIX_PREFIX="$root/mpi/pmix" PMIX_PKGLIBDIR="$root/mpi/pmix/lib/pmix" PMIX_PKGDATADIR="$root/mpi/pmix/share/pmix"
  export HWLOC_PLUGINS_PATH="$root/mpi/lib/hwloc"  # there are none: those of the machine are of another version
fi
# Without ssh Open MPI does not even start ranks on this machine, or a single process, until it is told of another agent.
if [ -z "${OMPI_MCA_plm_rsh_agent:-}" ] && ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then
  export OMPI_MCA_plm_rsh_agent=false
fi
# Where certificates are on Red Hat's systems; the carried libraries look where Debian has them.
certificates=/etc/pki/tls/certs/ca-bundle.crt
if [ -z "${SSL_CERT_FILE:-}" ] && ! [ -e /etc/ssl/certs/ca-certificates.crt ] && [ -e $certificates ]; then
  export SSL_CERT_FILE=$certificates
fi
name=${0##*/}
case $name in
  run) exec "$@" ;;
  mpirun) exec "$root/mpi/bin/mpirun" "$@" ;;
  *) exec "$root/libexec/$name" "$@" ;;
esac
