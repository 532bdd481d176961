#pragma once
#include "sherd/comm/mpi.hpp"

namespace sherd::test {

/// The session that main.cpp holds around all tests: MPI can be started once per process.
MpiSession& session();

}  // namespace sherd::test
