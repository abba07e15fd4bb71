#!/usr/bin/env python3
"""PyTorch on models beyond MNIST: eager, fused Adam, images channels-last, traced for inference.

Linear layers that read the same thing are one where PyTorch's own modules have one: queries, keys
and values.
"""

import copy

import beyond
import common

flags = beyond.parse_flags()
answers = common.private_stdout()

import numpy  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402


class Weights:
    """gradgraph's weights, as PyTorch lays them out."""

    def __init__(self, arrays):
        self.arrays = arrays

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name].copy())

    def parameter(self, name):
        return nn.Parameter(self.tensor(name))

    def linear(self, *names):
        """Several layers that read the same as one."""
        kernel = torch.cat([self.tensor(f"{name}/kernel") for name in names], 1)
        layer = nn.Linear(*kernel.shape)
        layer.weight.data = kernel.T.contiguous()
        layer.bias.data = torch.cat([self.tensor(f"{name}/bias") for name in names])
        return layer

    def filled(self, layer, name, kernel):
        layer.weight.data = kernel.contiguous()
        if layer.bias is not None:
            layer.bias.data = self.tensor(f"{name}/bias")
        return layer

    def convolution(self, name, **options):
        kernel = self.tensor(f"{name}/kernel")  # [height, width, channels, filters]
        size, _, channels, filters = kernel.shape
        channels *= options.get("groups", 1)
        layer = nn.Conv2d(channels, filters, size, bias=f"{name}/bias" in self.arrays, **options)
        return self.filled(layer, name, kernel.permute(3, 2, 0, 1))

    def transposed(self, name, **options):
        kernel = self.tensor(f"{name}/kernel")  # [height, width, filters, channels]
        size, _, filters, channels = kernel.shape
        layer = nn.ConvTranspose2d(channels, filters, size, **options)
        return self.filled(layer, name, kernel.permute(3, 2, 0, 1))

    def convolution_1d(self, name):
        kernel = self.tensor(f"{name}/kernel").squeeze(1)  # [size, channels, filters]
        size, channels, filters = kernel.shape
        return self.filled(nn.Conv1d(channels, filters, size), name, kernel.permute(2, 1, 0))

    def norm(self, layer, name):
        layer.weight.data = self.tensor(f"{name}/scale")
        layer.bias.data = self.tensor(f"{name}/offset")
        return layer

    def layers(self, scope, count):
        """Dense layers with ReLU, one behind the other."""
        names = [f"{scope}/dense{'' if i == 0 else f'_{i}'}" for i in range(count)]
        return nn.Sequential(*(layer for name in names
                               for layer in (self.linear(name), nn.ReLU())))

    def layer_norm(self, name):
        return self.norm(nn.LayerNorm(len(self.arrays[f"{name}/scale"])), name)


def mean_cross_entropy(logits, labels):
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


class Lstm(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = weights.parameter("embedding/table")
        features, units = self.table.shape[1], len(weights.arrays["lstm/recurrent/kernel"])
        self.lstm = nn.LSTM(features, units, batch_first=True)
        self.lstm.weight_ih_l0.data = weights.tensor("lstm/kernel").T.contiguous()
        self.lstm.weight_hh_l0.data = weights.tensor("lstm/recurrent/kernel").T.contiguous()
        self.lstm.bias_ih_l0.data = weights.tensor("lstm/bias")
        # The second bias, which no other system has, does not train.
        self.lstm.bias_hh_l0.data.zero_()
        self.lstm.bias_hh_l0.requires_grad = False
        self.logits = weights.linear("logits")

    def forward(self, words, next):
        states, _ = self.lstm(functional.embedding(words, self.table))
        return mean_cross_entropy(self.logits(states), next)


class Block(nn.Module):
    def __init__(self, weights, name):
        super().__init__()
        self.norm1 = weights.layer_norm(f"{name}/norm1")
        self.inputs = weights.linear(*(f"{name}/attention/{part}"
                                       for part in ("query", "key", "value")))
        self.output = weights.linear(f"{name}/attention/output")
        self.norm2 = weights.layer_norm(f"{name}/norm2")
        self.wide = weights.linear(f"{name}/wide")
        self.narrow = weights.linear(f"{name}/narrow")

    def forward(self, x):
        samples, length, width = x.shape
        parts = self.inputs(self.norm1(x)).view(samples, length, 3, 4, width // 4)
        attended = functional.scaled_dot_product_attention(
            *parts.permute(2, 0, 3, 1, 4).unbind(), is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(x.shape))
        return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = weights.parameter("embedding/table")
        self.places = weights.parameter("places")
        self.blocks = nn.Sequential(Block(weights, "block1"), Block(weights, "block2"))
        self.norm = weights.layer_norm("norm")
        self.logits = weights.linear("logits")

    def forward(self, words, next):
        x = self.blocks(functional.embedding(words, self.table) + self.places)
        return mean_cross_entropy(self.logits(self.norm(x)), next)


class Vae(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.encode = weights.linear("encode")
        self.mean = weights.linear("mean")
        self.log_variance = weights.linear("log_variance")
        self.decode = nn.Sequential(weights.linear("decode"), nn.ReLU(), weights.linear("drawn"))

    def forward(self, pixels, noise):
        x = functional.relu(self.encode(pixels))
        mean, log_variance = self.mean(x), self.log_variance(x)
        logits = self.decode(mean + noise * (log_variance * 0.5).exp())
        wrong = functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
        far = (mean.square() + log_variance.exp() - log_variance - 1).sum()
        return (wrong + 0.5 * far) / len(pixels)


def normalised(weights, name, **options):
    convolution = weights.convolution(f"{name}/conv2d", **options)
    return convolution, weights.norm(nn.BatchNorm2d(convolution.out_channels),
                                     f"{name}/batch_norm")


class Residual(nn.Module):
    def __init__(self, weights, name, stride):
        super().__init__()
        self.layers = nn.Sequential(
            *normalised(weights, f"{name}/conv1", stride=stride, padding=1),
            nn.ReLU(inplace=True),
            *normalised(weights, f"{name}/conv2", padding=1))
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(*normalised(weights, f"{name}/shortcut", stride=stride))

    def forward(self, x):
        return functional.relu(self.layers(x) + self.shortcut(x), inplace=True)


class ImageClasses(nn.Module):
    def __init__(self, weights, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.logits = weights.linear("logits")

    def forward(self, images, labels):
        return mean_cross_entropy(self.logits(self.layers(images).mean((2, 3))), labels)


class Resnet(ImageClasses):
    def __init__(self, weights):
        super().__init__(
            weights,
            *normalised(weights, "stem", padding=1), nn.ReLU(inplace=True),
            *(Residual(weights, f"block{i}", 2 if i in (3, 6) else 1) for i in range(9)))


class Inverted(nn.Module):
    def __init__(self, weights, name, stride):
        super().__init__()
        wide, narrow = (weights.arrays[f"{name}/{part}/conv2d/kernel"].shape[3]
                        for part in ("wide", "narrow"))
        self.layers = nn.Sequential(
            *normalised(weights, f"{name}/wide"), nn.ReLU6(inplace=True),
            *normalised(weights, f"{name}/depthwise", padding=1, stride=stride, groups=wide),
            nn.ReLU6(inplace=True), *normalised(weights, f"{name}/narrow"))
        self.adds = stride == 1 and wide == 4 * narrow

    def forward(self, x):
        return x + self.layers(x) if self.adds else self.layers(x)


class Mobilenet(ImageClasses):
    def __init__(self, weights):
        super().__init__(
            weights,
            *normalised(weights, "stem", padding=1), nn.ReLU6(inplace=True),
            *(Inverted(weights, f"block{i}", 2 if i in (1, 3) else 1) for i in range(6)))


class Mlp(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.layers = nn.Sequential(
            *(part for name in ("layer1", "layer2")
              for part in (weights.linear(f"{name}/dense"),
                           weights.layer_norm(f"{name}/layer_norm"), nn.Tanh())),
            weights.linear("logits"))

    def forward(self, features, labels):
        return mean_cross_entropy(self.layers(features), labels)


class Twice(nn.Sequential):
    def __init__(self, weights, name):
        super().__init__(weights.convolution(f"{name}/first", padding=1), nn.ReLU(),
                         weights.convolution(f"{name}/second", padding=1), nn.ReLU())


class Unet(nn.Module):
    def __init__(self, weights):
        super().__init__()
        levels = range(3)
        self.down = nn.ModuleList(Twice(weights, f"down{level}") for level in levels)
        self.bottom = Twice(weights, "bottom")
        self.larger = nn.ModuleList(weights.transposed(f"larger{level}", stride=2)
                                    for level in levels)
        self.up = nn.ModuleList(Twice(weights, f"up{level}") for level in levels)
        self.drawn = weights.convolution("drawn")

    def forward(self, images, means):
        x, skips = images, []
        for down in self.down:
            skips.append(down(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for level in (2, 1, 0):
            x = self.up[level](torch.cat([self.larger[level](x), skips[level]], 1))
        return functional.mse_loss(self.drawn(x), means)


class TextCnn(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = weights.parameter("embedding/table")
        self.layers = nn.ModuleList(weights.convolution_1d(f"conv{size}") for size in (3, 4, 5))
        self.logits = weights.linear("logits")

    def forward(self, words, labels):
        x = functional.embedding(words, self.table).transpose(1, 2)
        seen = [functional.relu(layer(x)).amax(2) for layer in self.layers]
        return mean_cross_entropy(self.logits(torch.cat(seen, 1)), labels)


class Vocabulary(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = weights.parameter("embedding/table")
        self.logits = weights.linear("logits")

    def forward(self, words, labels):
        return mean_cross_entropy(self.logits(functional.embedding(words, self.table)), labels)


class Recommender(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.bottom = weights.layers("bottom", 3)
        self.tables = nn.ParameterList(weights.parameter(f"table{i}/table") for i in range(8))
        self.top = weights.layers("top", 2)
        self.logits = weights.linear("logits")
        self.register_buffer("below", torch.tril_indices(9, 9, -1))

    def forward(self, numbers, rows, clicks):
        bottom = self.bottom(numbers)
        parts = [bottom, *(functional.embedding(row, table)
                           for row, table in zip(rows.unbind(1), self.tables))]
        x = torch.stack(parts, 1)
        products = x @ x.transpose(1, 2)
        pairs = products[:, self.below[0], self.below[1]]
        logits = self.logits(self.top(torch.cat([bottom, pairs], 1))).squeeze(1)
        return functional.binary_cross_entropy_with_logits(logits, clicks)


class Cnn(nn.Module):
    def __init__(self, weights):
        super().__init__()
        first = weights.linear("dense1")
        # What PyTorch flattens has its channels first, [48, 4, 4].
        order = torch.arange(768).reshape(4, 4, 48).permute(2, 0, 1).flatten()
        first.weight.data = first.weight.data[:, order].contiguous()
        self.layers = nn.Sequential(
            weights.convolution("conv1"), nn.ReLU(), nn.MaxPool2d(2),
            weights.convolution("conv2"), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), first, nn.ReLU(), weights.linear("logits"))

    def forward(self, images):
        return self.layers(images)


def tensor_of(array):
    if array.dtype == numpy.int32:
        return torch.from_numpy(array).long()  # what cross_entropy takes
    if array.ndim == 4:  # [N,H,W,C] in memory is [N,C,H,W] in the channels-last format
        return torch.from_numpy(array).permute(0, 3, 1, 2)
    return torch.from_numpy(array)


class System:
    def __init__(self):
        torch.set_num_threads(flags.threads)
        torch.set_flush_denormal(True)
        start = beyond.Start(flags.start)
        model = {"lstm": Lstm, "transformer": Transformer, "long_transformer": Transformer,
                 "vae": Vae, "resnet": Resnet, "mobilenet": Mobilenet, "mlp": Mlp, "unet": Unet,
                 "text_cnn": TextCnn, "vocabulary": Vocabulary, "recommender": Recommender,
                 "cnn_inference": Cnn}[flags.model]
        model = model(Weights(start.weights))
        self.batches = start.batches_in_turn(tensor_of)
        self.first = start.batches[0]
        self.model = model.to(memory_format=torch.channels_last)


class Training(System):
    def __init__(self):
        super().__init__()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=beyond.RATE, eps=beyond.EPSILON,
                                          fused=True)
        self.model.train()

    def steps(self, count):
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            self.last = self.model(**next(self.batches))
            self.last.backward()
            self.optimizer.step()

    def loss(self):
        return self.last.item()


class TrainingOnGpu(Training):
    """Steps of all batches, which lie on the GPU, as one CUDA graph."""

    def __init__(self):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        super().__init__()
        self.model.cuda()
        self.compiled = torch.compile(self.model) if flags.compile else self.model
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad],
                                          lr=beyond.RATE, eps=beyond.EPSILON, fused=True,
                                          capturable=True)
        batches = beyond.Start(flags.start).batches
        self.batches = [{name: tensor_of(array).cuda() for name, array in batch.items()
                         if name != "training"} for batch in batches]
        # Libraries choose their kernels, and Adam makes its state, before anything is captured;
        # then the model is as before.
        before = copy.deepcopy(self.model.state_dict())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(self.batches[0])
        torch.cuda.current_stream().wait_stream(side)
        self.model.load_state_dict(before)
        for state in self.optimizer.state.values():
            for tensor in state.values():
                tensor.zero_()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for batch in self.batches:
                self.last = self.step(batch)

    def step(self, batch):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.compiled(**batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def steps(self, count):
        for _ in range(0, count, len(self.batches)):
            self.graph.replay()
        torch.cuda.synchronize()


class Inference(System):
    def __init__(self):
        super().__init__()
        with torch.inference_mode():
            traced = torch.jit.trace(self.model.eval(), tensor_of(self.first["images"]))
            self.model = torch.jit.freeze(traced)

    def steps(self, count):
        with torch.inference_mode():
            for _ in range(count):
                self.used = next(self.batches)
                self.logits = self.model(self.used["images"])

    def loss(self):
        return beyond.cross_entropy(self.logits, self.used["labels"])


training = TrainingOnGpu if flags.device == "cuda" else Training
beyond.serve(Inference() if flags.model == "cnn_inference" else training(), answers)
