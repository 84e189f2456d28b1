// Runs one photograph through a TFLite file on LiteRT's C API and prints, for each level, its bytes and their FNV-1a.
//
//   run model.tflite model.tflite.json photo.ppm
//
// The photograph is a binary PPM (P6) of the network's size, letterboxed; its bytes become what the manifest says.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "litert.h"

namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "run: %s\n", message.c_str());
  std::exit(1);
}

void check(LiteRtStatus status, const char* what) {
  if (status != 0) fail(std::string(what) + " ended with LiteRT's status " + std::to_string(status));
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path + " cannot be read");
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// One value of a manifest, as text: manifests are written by the package, one `"key": value` a line.
std::string value_of(const std::string& manifest, const std::string& section, const std::string& key) {
  const size_t start = manifest.find("\n  \"" + section + "\": {");
  const size_t end = manifest.find("\n  }", start);
  const std::string wanted = "\n    \"" + key + "\": ";
  const size_t found = start == std::string::npos ? start : manifest.find(wanted, start);
  if (found == std::string::npos || found > end) return "";
  const size_t from = found + wanted.size();
  std::string text = manifest.substr(from, manifest.find('\n', from) - from);
  if (!text.empty() && text.back() == ',') text.pop_back();
  return text;
}

struct Image {
  int width = 0, height = 0;
  std::string pixels;  // RGB
};

Image read_ppm(const std::string& path) {
  const std::string content = read(path);
  Image image;
  int most = 0, length = 0;
  if (std::sscanf(content.c_str(), "P6 %d %d %d%n", &image.width, &image.height, &most, &length) != 3 || most != 255)
    fail(path + " is no binary PPM with 255 levels (P6)");
  image.pixels = content.substr(length + 1);
  if (image.width <= 0 || image.height <= 0 || image.pixels.size() != size_t(3) * image.width * image.height)
    fail(path + " has not the bytes that its header says");
  return image;
}

// What the manifest says is done to pixels before the network gets them.
struct Recipe {
  bool bgr;    // the network takes blue first
  bool plain;  // neither a mean nor a deviation
  float divisor, scale;
  int zero_point;
  std::string type;

  explicit Recipe(const std::string& manifest) {
    const auto number = [&](const char* section, const char* key, double otherwise) {
      const std::string text = value_of(manifest, section, key);
      return text.empty() ? otherwise : std::strtod(text.c_str(), nullptr);
    };
    type = value_of(manifest, "input", "dtype");
    bgr = value_of(manifest, "preprocessing", "color") == "\"BGR\"";
    plain = value_of(manifest, "preprocessing", "mean").empty();
    plain = plain && value_of(manifest, "preprocessing", "deviation").empty();
    divisor = float(number("preprocessing", "divide_pixels_by", 1.0));
    scale = float(number("input", "scale", 1.0));
    zero_point = int(number("input", "zero_point", 0.0));
  }

  float real(const Image& image, size_t place) const {
    const size_t pixel = place / 3, channel = place % 3;
    const auto byte = static_cast<unsigned char>(image.pixels[3 * pixel + (bgr ? 2 - channel : channel)]);
    return float(byte) / divisor;
  }

  int integer(const Image& image, size_t place, int least, int most) const {
    const int value = int(std::nearbyint(real(image, place) / scale)) + zero_point;
    return value < least ? least : value > most ? most : value;
  }
};

void fill(void* memory, size_t size, const Image& image, const Recipe& recipe) {
  const size_t count = image.pixels.size();
  const std::string types[] = {"\"int8\"", "\"uint8\"", "\"int16\"", "\"float32\""};
  const size_t bytes[] = {1, 1, 2, 4};
  const auto* type = std::find(types, types + 4, recipe.type);
  if (type == types + 4) fail("the manifest has an input of " + recipe.type + "; expected float32 or integers");
  if (size != count * bytes[type - types])
    fail("the manifest says " + recipe.type + ", the network's input has " + std::to_string(size) +
         " bytes: they are of two files");
  for (size_t place = 0; place < count; ++place) {
    if (recipe.type == "\"int8\"")
      static_cast<int8_t*>(memory)[place] = int8_t(recipe.integer(image, place, -128, 127));
    else if (recipe.type == "\"uint8\"")
      static_cast<uint8_t*>(memory)[place] = uint8_t(recipe.integer(image, place, 0, 255));
    else if (recipe.type == "\"int16\"")
      static_cast<int16_t*>(memory)[place] = int16_t(recipe.integer(image, place, -32768, 32767));
    else
      static_cast<float*>(memory)[place] = recipe.real(image, place);
  }
}

uint64_t fnv1a(const void* memory, size_t size) {
  uint64_t hash = 14695981039346656037ull;
  for (size_t place = 0; place < size; ++place)
    hash = (hash ^ static_cast<const unsigned char*>(memory)[place]) * 1099511628211ull;
  return hash;
}

LiteRtTensorBuffer buffer_for(LiteRtEnvironment environment, LiteRtTensor tensor, LiteRtTensorBufferRequirements needs,
                              LiteRtRankedTensorType* type) {
  LiteRtTensorBuffer buffer = nullptr;
  check(LiteRtGetRankedTensorType(tensor, type), "LiteRtGetRankedTensorType");
  check(LiteRtCreateManagedTensorBufferFromRequirements(environment, type, needs, &buffer), "allocating a tensor");
  return buffer;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) fail("expected: run model.tflite model.tflite.json photo.ppm");
  const Image image = read_ppm(arguments[3]);
  const Recipe recipe(read(arguments[2]));
  if (recipe.type.empty()) fail(std::string(arguments[2]) + " is no manifest: it has no input");
  if (!recipe.plain) fail("the manifest asks for a mean or a deviation, which this program does not do");

  LiteRtEnvironment environment = nullptr;
  LiteRtModel model = nullptr;
  LiteRtOptions options = nullptr;
  LiteRtCompiledModel compiled = nullptr;
  LiteRtSignature signature = nullptr;
  check(LiteRtCreateEnvironment(0, nullptr, &environment), "LiteRtCreateEnvironment");
  check(LiteRtCreateModelFromFile(environment, arguments[1], &model), "reading the model");
  check(LiteRtCreateOptions(&options), "LiteRtCreateOptions");
  check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu), "choosing the CPU");
  check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compiling the model");
  check(LiteRtGetModelSignature(model, 0, &signature), "LiteRtGetModelSignature");

  LiteRtTensor tensor = nullptr;
  LiteRtTensorBufferRequirements needs = nullptr;
  LiteRtRankedTensorType type;
  check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "finding the input");
  check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &needs), "asking for the input's size");
  LiteRtTensorBuffer input = buffer_for(environment, tensor, needs, &type);
  const int32_t* sides = type.layout.dimensions;
  if (type.layout.rank != 4 || sides[1] != image.height || sides[2] != image.width || sides[3] != 3)
    fail("the photograph is " + std::to_string(image.width) + "x" + std::to_string(image.height) +
         ", the network takes " + std::to_string(sides[2]) + "x" + std::to_string(sides[1]) + ": letterbox it first");
  void* memory = nullptr;
  size_t size = 0;
  check(LiteRtGetTensorBufferPackedSize(input, &size), "measuring the input");
  check(LiteRtLockTensorBuffer(input, &memory, kLiteRtTensorBufferLockModeWrite), "locking the input");
  fill(memory, size, image, recipe);
  check(LiteRtUnlockTensorBuffer(input), "unlocking the input");

  LiteRtParamIndex levels = 0;
  check(LiteRtGetNumSignatureOutputs(signature, &levels), "counting the outputs");
  std::vector<LiteRtTensorBuffer> outputs;
  for (LiteRtParamIndex index = 0; index < levels; ++index) {
    check(LiteRtGetSignatureOutputTensorByIndex(signature, index, &tensor), "finding an output");
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, index, &needs), "asking for an output's size");
    outputs.push_back(buffer_for(environment, tensor, needs, &type));
  }
  check(LiteRtRunCompiledModel(compiled, 0, 1, &input, outputs.size(), outputs.data()), "running");

  for (LiteRtParamIndex index = 0; index < levels; ++index) {
    const char* name = nullptr;
    check(LiteRtGetSignatureOutputName(signature, index, &name), "naming an output");
    check(LiteRtGetTensorBufferPackedSize(outputs[index], &size), "measuring an output");
    check(LiteRtLockTensorBuffer(outputs[index], &memory, kLiteRtTensorBufferLockModeRead), "locking an output");
    std::printf("%s %zu %016llx\n", name, size, static_cast<unsigned long long>(fnv1a(memory, size)));
    check(LiteRtUnlockTensorBuffer(outputs[index]), "unlocking an output");
    LiteRtDestroyTensorBuffer(outputs[index]);
  }
  LiteRtDestroyTensorBuffer(input);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
}
