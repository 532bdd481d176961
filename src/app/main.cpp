// The program: parses, runs one subcommand, and is the only place that catches.
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <thread>

#include "commands.hpp"
#include "sherd/base/log.hpp"
#include "sherd/config/command_line.hpp"

namespace sherd::app {
namespace {

constexpr std::chrono::seconds kTimeToTell{5};

// The settings of every subcommand, and MPI for those that run on all ranks.
struct Program {
  PlanConfig plan_config;
  ExportConfig export_config;
  GenerateConfig generate_config;
  InspectConfig inspect_config;
  PrepareConfig prepare_config;
  TrainConfig train_config;
  std::optional<MpiSession> mpi;
};

std::vector<Subcommand> offered_by(Program& p) {
  return {{.name = "prepare",
           .summary = "text files -> a corpus of tokens",
           .fields = fields_of(p.prepare_config),
           .parallel = true,
           .run = [&p] { return prepare(p.prepare_config, *p.mpi); }},
          {.name = "train",
           .summary = "the trainer, on all ranks",
           .fields = fields_of(p.train_config),
           .train = &p.train_config,
           .parallel = true,
           .run = [&p] { return train(p.train_config, *p.mpi); }},
          {.name = "plan",
           .summary = "memory and traffic of a run, without running it",
           .fields = fields_of(p.plan_config),
           .train = &p.plan_config.train,
           .run = [&p] { return plan(p.plan_config); }},
          {.name = "export",
           .summary = "checkpoint -> Hugging Face directory",
           .fields = fields_of(p.export_config),
           .run = [&p] { return export_checkpoint(p.export_config); }},
          {.name = "generate",
           .summary = "text from a model, a checkpoint or a run",
           .fields = fields_of(p.generate_config),
           .run = [&p] { return generate(p.generate_config); }},
          {.name = "inspect",
           .summary = "what a corpus, model, run or checkpoint holds",
           .fields = fields_of(p.inspect_config),
           .positional = "path",
           .run = [&p] { return inspect(p.inspect_config); }}};
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unknown host";
}

// One block: what is wrong, on which rank, and for a defect of ours where in the source.
void report(const Error& error, const std::optional<MpiSession>& mpi) {
  std::string text = fmt::format("sherd: error: {}\n", log::printable(error.what()));
  if (mpi && mpi->size() > 1) text += fmt::format("  on rank {} of {} ({})\n", mpi->rank(), mpi->size(), host_name());
  if (error.code() == ExitCode::internal) {
    text += fmt::format("  this is a defect of Sherd, found at {}:{}; please report it\n", error.where().file_name(),
                        error.where().line());
  }
  std::fputs(text.c_str(), stderr);
}

/// The error that is being handled, whatever was thrown.
Error current_error() {
  try {
    throw;
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return does_not_fit("out of memory; give the job more, or choose a smaller batch, sequence or model");
  } catch (const std::filesystem::filesystem_error& e) {  // a folder that may not be read or made
    return bad_input("{}", e.what());
  } catch (const std::exception& e) {
    return {ExitCode::internal, e.what()};
  }
}

bool is_parallel(const std::vector<Subcommand>& offered, const std::string& name) {
  for (const Subcommand& command : offered) {
    if (command.name == name) return command.parallel;
  }
  return false;
}

// What parsing found, on all ranks: a mistake that all of them see is reported by the first of them only, and none is
// left waiting when just one cannot read its configuration. Collective. Returns the exit code.
ExitCode agree(const std::optional<Error>& mine, const std::optional<MpiSession>& mpi) {
  const int code = static_cast<int>(mine ? mine->code() : ExitCode::done);
  std::vector<int> codes = {code};
  int rank = 0;
  if (mpi) {
    codes.resize(static_cast<std::size_t>(mpi->size()));
    rank = mpi->rank();
    MPI_CHECK(MPI_Allgather(&code, 1, MPI_INT, codes.data(), 1, MPI_INT, mpi->world()));
  }
  const auto first = std::find_if(codes.begin(), codes.end(), [](int c) { return c != 0; });
  if (first == codes.end()) return ExitCode::done;
  if (mine && first - codes.begin() == rank) report(*mine, mpi);
  return static_cast<ExitCode>(*first);
}

/// Ends this process, and with it the job. What all ranks throw one of them tells; the others leave it the time to end
/// them, and speak themselves if it does not.
[[noreturn]] void end_with(const Error& error, const std::optional<MpiSession>& mpi) {
  const bool many = mpi && mpi->size() > 1;
  if (many && error.teller() >= 0 && error.teller() != mpi->rank()) std::this_thread::sleep_for(kTimeToTell);
  report(error, mpi);
  if (many) mpi->abort(error.code());  // the peers would wait for us
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(error.code()));  // MPI_Finalize closes HDF5's files, and crashes over a full disk
}

int run(Program& program, const std::vector<std::string>& args) {
  const std::vector<Subcommand> offered = offered_by(program);
  if (asks_for_text(args)) {
    const bool version = !args.empty() && args.front() == "--version";
    std::fputs((version ? version_text() : help_text(offered, args)).c_str(), stdout);
    return static_cast<int>(ExitCode::done);
  }
  if (is_parallel(offered, args.front())) {
    program.mpi.emplace();
    log::init(program.mpi->rank(), program.mpi->size());
  }
  const Subcommand* command = nullptr;
  std::optional<Error> mistake;
  try {
    command = &parse_command_line(offered, args);
  } catch (const Error& e) {
    mistake = e;
  }
  if (const ExitCode code = agree(mistake, program.mpi); code != ExitCode::done) return static_cast<int>(code);
  return command->run();
}

}  // namespace
}  // namespace sherd::app

int main(int argc, char** argv) {
  sherd::app::Program program;  // outlives the try: MPI must still be there when an error is reported
  try {
    return sherd::app::run(program, {argv + 1, argv + argc});
  } catch (...) {
    sherd::app::end_with(sherd::app::current_error(), program.mpi);
  }
}
