"""The face networks: detector, alignment and embedder of dlib's `face_recognition`, run by ONNX Runtime.

Home of onnxruntime and dlib. Pixels come in, boxes, landmarks and embeddings go out; nobody is named here.
"""
