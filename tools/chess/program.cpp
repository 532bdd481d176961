#include "chess/program.hpp"

#include <cstdio>
#include <exception>
#include <new>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"

namespace sherd::chess {
namespace {

int tell(const CLI::App& app, ExitCode code, const std::string& message) {
  fmt::print(stderr, "{}: error: {}\n", app.get_name(), log::printable(message));
  return static_cast<int>(code);
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<void()>& run) {
  try {
    app.parse(argc, argv);
    run();
    return static_cast<int>(ExitCode::done);
  } catch (const CLI::Success& e) {  // --help
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return tell(app, ExitCode::usage, fmt::format("{}; {} --help lists the flags", e.what(), app.get_name()));
  } catch (const Error& e) {
    return tell(app, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return tell(app, ExitCode::does_not_fit, "out of memory");
  } catch (const std::exception& e) {
    return tell(app, ExitCode::internal, e.what());
  }
}

}  // namespace sherd::chess
