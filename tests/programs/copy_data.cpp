// `copy_data KIND FROM TO` reads a file or folder of data and writes what it holds as NumPy has
// it. Names of classes are printed.

#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <string>

#include "gradgraph/data.h"
#include "gradgraph/npy.h"

namespace {

namespace data = gg::data;

void write(const std::string& path, const data::Dataset& dataset) {
  std::vector<gg::NamedTensor> arrays;
  for (const std::string& name : dataset.names()) {
    arrays.push_back({name, dataset[name]});
    for (const std::string& label : dataset.classes(name)) std::printf("%s\n", label.c_str());
  }
  gg::write_npz(path, arrays);
}

using Copy = std::function<void(const std::string&, const std::string&)>;
const std::map<std::string, Copy> kCopies = {
    {"npy", [](const auto& from, const auto& to) { gg::write_npy(to, gg::read_npy(from)); }},
    {"map", [](const auto& from, const auto& to) { gg::write_npy(to, gg::map_npy(from)); }},
    {"npz", [](const auto& from, const auto& to) { gg::write_npz(to, gg::read_npz(from)); }},
    {"compressed",
     [](const auto& from, const auto& to) {
       gg::write_npz(to, gg::read_npz(from), {.compressed = true});
     }},
    {"csv", [](const auto& from, const auto& to) { write(to, data::read_csv(from)); }},
    {"image",
     [](const auto& from, const auto& to) { gg::write_npy(to, data::read_image(from)); }},
    {"grey", [](const auto& from,
                const auto& to) { gg::write_npy(to, data::read_image(from, {.channels = 1})); }},
    {"small",
     [](const auto& from, const auto& to) {
       gg::write_npy(to, data::read_image(from, {.height = 19, .width = 31}));
     }},
    {"folder",
     [](const auto& from, const auto& to) { write(to, data::read_image_folder(from)); }},
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 4 || !kCopies.contains(arguments[1])) {
    std::fputs("copy_data KIND FROM TO\n", stderr);
    return 2;
  }
  try {
    kCopies.at(arguments[1])(arguments[2], arguments[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
