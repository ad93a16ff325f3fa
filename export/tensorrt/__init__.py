"""TensorRT plans from exported components: TensorRT on data-centre GPUs, TensorRT-RTX on PC GPUs.

A component goes through these steps, one module each:

    trace     the float32 graph of `spar-export onnx`, without weights             (`..traces`)
    cores     cores of GLUMBConv become one node, where plugins are built          (`cores`)
    split     what follows from parameters alone leaves the graph                  (`split`)
    typed     every value gets its type; casts are written into the graph          (`typed`)
    fp8       products of the DiT's blocks get float8 weights and inputs           (`fp8`, `calibrate`)
    cutting   two graphs around an operator of ours, if asked for                  (`cutting`)
    ours      nodes of domain `spar` become plugins, or their decompositions       (`ours`)
    profiles  the sizes that a plan is tuned for                                   (`profiles`)
    worker    parser and builder, in a process of their own                        (`child`, `worker`)
    plans     what is stale is built and published, the manifest is written        (`plans`, `building`)
    report    what the build took                                                  (`report`)
"""
