// Finding a field by name, and moving its value to and from text.
#include <charconv>
#include <cmath>
#include <numeric>

#include "json.hpp"
#include "sherd/base/error.hpp"
#include "sherd/config/fields.hpp"

namespace sherd {
namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

// Levenshtein's distance, one row at a time.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

// The whole text as a number, or nothing.
template <class T>
bool parse_number(std::string_view text, T& value) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string joined(const std::vector<std::string>& words, std::string_view last) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? last : ", ";
    out += words[i];
  }
  return out;
}

std::string range_text(const Range& range, bool whole) {
  const auto number = [whole](double x) { return whole ? fmt::format("{:.0f}", x) : fmt::format("{}", x); };
  const bool below = std::isfinite(range.least), above = std::isfinite(range.most);
  if (below && above) return fmt::format(" from {} to {}", number(range.least), number(range.most));
  if (below) return fmt::format(" of at least {}", number(range.least));
  if (above) return fmt::format(" of at most {}", number(range.most));
  return "";
}

bool acceptable(const Field& field) {
  const auto in_range = [&field](double x) { return x >= field.range.least && x <= field.range.most; };
  return std::visit(Overload{[&](const std::string* s) {
                               if (field.required && s->empty()) return false;
                               return field.choices.empty() ||
                                      std::find(field.choices.begin(), field.choices.end(), *s) != field.choices.end();
                             },
                             [&](const std::int64_t* i) { return in_range(static_cast<double>(*i)); },
                             [&](const double* d) { return in_range(*d); }, [](const bool*) { return true; },
                             [&](const std::vector<std::string>* list) { return !field.required || !list->empty(); }},
                    field.target);
}

}  // namespace

std::string kebab_case(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  std::size_t fewest = std::max<std::size_t>(2, name.size() / 2) + 1;
  for (const std::string& candidate : known) {
    if (const std::size_t n = edits(kebab_case(name), candidate); n < fewest) {
      fewest = n;
      best = candidate;
    }
  }
  return best;
}

Error unknown_name(std::string_view name, const std::vector<std::string>& known, std::string_view where) {
  const std::string nearest = nearest_name(name, known);
  return usage_error("{}: there is no {}{}", where, name,
                     nearest.empty() ? std::string("; --help lists what there is") : "; did you mean " + nearest + "?");
}

const Field& find_field(const Fields& fields, std::string_view name, std::string_view where) {
  std::vector<std::string> known;
  for (const Field& field : fields) {
    if (field.name == kebab_case(name)) return field;
    known.push_back(field.name);
  }
  throw unknown_name(name, known, where);
}

std::string expectation(const Field& field) {
  return std::visit(Overload{[&](const std::string*) {
                               return field.choices.empty() ? std::string("a text") : joined(field.choices, " or ");
                             },
                             [&](const std::int64_t*) { return "an integer" + range_text(field.range, true); },
                             [&](const double*) { return "a number" + range_text(field.range, false); },
                             [](const bool*) { return std::string("true or false"); },
                             [](const std::vector<std::string>*) { return std::string("a list of texts"); }},
                    field.target);
}

void set_field(const Field& field, std::string_view text, std::string_view where) {
  const auto as_boolean = [&](bool& b) {
    if (text != "true" && text != "false") return false;
    b = text == "true";
    return true;
  };
  const bool understood =
      std::visit(Overload{[&](std::string* s) { return s->assign(text), true; },
                          [&](std::int64_t* i) { return parse_number(text, *i); },
                          [&](double* d) { return parse_number(text, *d); }, [&](bool* b) { return as_boolean(*b); },
                          [&](std::vector<std::string>* list) { return list->emplace_back(text), true; }},
                 field.target);
  if (!understood || !acceptable(field)) {
    throw usage_error("{} is \"{}\"; {} is expected", where, text, expectation(field));
  }
}

std::string value_text(const Field& field) {
  return std::visit(
      Overload{[](const std::string* s) { return *s; }, [](const std::int64_t* i) { return std::to_string(*i); },
               [](const double* d) { return fmt::format("{}", *d); },
               [](const bool* b) { return std::string(*b ? "true" : "false"); },
               [](const std::vector<std::string>* list) { return joined(*list, ", "); }},
      field.target);
}

void check_fields(const Fields& fields) {
  for (const Field& field : fields) {
    if (acceptable(field)) continue;
    if (field.required && value_text(field).empty()) {
      throw usage_error("--{} is missing: {}", field.name, field.help);
    }
    throw usage_error("{} is \"{}\"; {} is expected", field.name, value_text(field), expectation(field));
  }
}

}  // namespace sherd
