// What TensorRT asks a plugin library for when it loads libspar_trt.
#include "plugin.h"

extern "C" {

__attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {spar::trt::dynamic_token_routing_creator(),
                                                               spar::trt::glumbconv_core_creator(),
                                                               spar::trt::relu_linear_attention_creator()};
  count = 3;
  return creators;
}

__attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder*) {}  // the plugins log nothing
}
