#include <fmt/core.h>
#include <hdf5.h>
#include <mpi.h>

#include <dnnl.hpp>

#include "commands.hpp"
#include "sherd/device/cuda/device.hpp"

namespace sherd::app {
namespace {

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_CHECK(MPI_Get_library_version(text.data(), &length));  // one of the few calls that need no MPI_Init
  const std::string all(text.data(), static_cast<std::size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace

std::string version_text() {
  const dnnl_version_t* dnnl = dnnl_version();
  return fmt::format("sherd {}\nmpi: {}\nhdf5: {}\nonednn: {}.{}.{}\nsentencepiece: {}\ncuda: {}\n", SHERD_VERSION,
                     mpi_version(), hdf5_version(), dnnl->major, dnnl->minor, dnnl->patch, SHERD_SENTENCEPIECE_VERSION,
                     cuda::version());
}

}  // namespace sherd::app
