"""Every hyper-parameter a person can set, in the order a form shows them."""

from __future__ import annotations

from workers.contract import TABULAR_REGRESSION
from workers.domains import CLASSIFICATION, NETWORKS, SPREADABLE, TASKS
from workers.parallel.plan import BY_SOURCE, OWN, STRATIFIED, WHOLE
from workers.pretrained.languages import TRANSCRIBE
from workers.series.regular import FILLINGS, MERGINGS
from workers.training.field import PRETRAINED, SCRATCH, Field
from workers.training.task_groups import (
    ANSWERING,
    BY_EXAMPLES,
    CLASSIFYING,
    IMAGES,
    LABELS,
    PAIRS,
    PRETRAINABLE,
    RECOMMENDING,
    RECORDINGS,
    SERIES,
    SPEECH,
    TABLES,
    TEXTS,
    TREES,
    WITH_EPOCHS,
    WITH_NEW_HEAD,
)

FULL, HEAD, LORA = FINE_TUNINGS = ("full", "head", "lora")

FIELDS: tuple[Field, ...] = (
    Field(
        "start_from", "Start from",
        "A pretrained model has learned from millions of others already, and needs far fewer examples of yours.",
        "checkpoint", "", tasks=PRETRAINABLE,
    ),
    Field(
        "fine_tuning", "What learns",
        "lora adds small matrices to each layer and trains these; head trains the last layer alone, which is fastest; "
        "full trains everything.",
        "choice", LORA, choices=FINE_TUNINGS, tasks=CLASSIFYING, start=PRETRAINED,
    ),
    Field(
        "fine_tuning", "What learns",
        "lora adds small matrices to each layer and trains these; head trains what writes alone: the last layer, or "
        "the decoder of Whisper; full trains everything.",
        "choice", LORA, choices=FINE_TUNINGS, tasks=SPEECH, start=PRETRAINED,
    ),
    Field(
        "fine_tuning", "What learns",
        "lora adds small matrices to each layer and trains these; head trains the decoder and leaves the encoder as it "
        "is, since there is no new layer to train alone; full trains everything.",
        "choice", LORA, choices=FINE_TUNINGS, tasks=PAIRS, start=PRETRAINED,
    ),
    Field(
        "source_language", "Language to read",
        "The code that the checkpoint's tokenizer has for it, such as eng_Latn for NLLB, en for M2M100 or en_XX for "
        "mBART; empty for the others.",
        "language", "", tasks=PAIRS, start=PRETRAINED,
    ),
    Field(
        "target_language", "Language to write",
        "The code that the checkpoint's tokenizer has for it, as above; of Marian's, those that know several languages "
        "need one.",
        "language", "", tasks=PAIRS, start=PRETRAINED,
    ),
    Field(
        "source_prefix", "Words before a text",
        "What T5 and mT5 are told before each text, such as translate English to German.",
        "text", "", tasks=PAIRS, start=PRETRAINED,
    ),
    Field(
        "lora_rank", "Rank",
        "How many columns the matrices of lora have; more can learn more and take longer.",
        "int", 16, minimum=1, maximum=256, tasks=PRETRAINABLE, start=PRETRAINED,
    ),
    Field(
        "lora_alpha", "Alpha",
        "How strongly lora works: what it learns is multiplied by alpha divided by the rank.",
        "float", 32.0, minimum=0.1, maximum=1024.0, tasks=PRETRAINABLE, advanced=True, start=PRETRAINED,
    ),
    Field(
        "spoken_language", "Spoken language",
        "The code that Whisper has for the language that is spoken, such as en; empty for the others.",
        "language", "", tasks=SPEECH, start=PRETRAINED,
    ),
    Field(
        "speech_task", "What Whisper writes",
        "transcribe where transcripts are in the language that is spoken, translate where they are in English.",
        "choice", TRANSCRIBE, choices=(TRANSCRIBE, "translate"), tasks=SPEECH, start=PRETRAINED,
    ),
    Field(
        "body_rate", "Learning rate of the body",
        "What the pretrained layers learn at when all learn, as a share of the learning rate of the new head.",
        "float", 0.05, minimum=0.0, maximum=1.0, tasks=WITH_NEW_HEAD, advanced=True, start=PRETRAINED,
    ),
    Field(
        "layer_decay", "Layer decay",
        "When all learn, each layer learns at this share of the rate of the one above it; 1 treats all alike.",
        "float", 0.9, minimum=0.1, maximum=1.0, tasks=WITH_NEW_HEAD, advanced=True, start=PRETRAINED,
    ),
    Field(
        "model", "Model",
        "The network to train; auto picks one that fits, and vit_tiny, a transformer, needs some thousand images.",
        "choice", "auto", choices=("auto", "resnet_tiny", "resnet_small", "vit_tiny"), tasks=IMAGES,
        start=SCRATCH,
    ),
    Field(
        "model", "Model",
        "The network to train; auto is resnet_tiny, and resnet_small may be better where there are many recordings.",
        "choice", "auto", choices=("auto", "resnet_tiny", "resnet_small"), tasks=RECORDINGS,
    ),
    Field(
        "model", "Model",
        "The kind of model; auto trains what does best on the validation rows.",
        "choice", "auto", choices=("auto", "gradient_boosting", "linear", "mlp", "blend"), tasks=TABLES,
    ),
    Field(
        "text_column", "Text column",
        "The column that holds the texts; automatic takes the one that the check of the data has found.",
        "column", "", tasks=TEXTS,
    ),
    Field(
        "model", "Model",
        "The network to train; auto is blend, or hashed_ngrams where that would take long.",
        "choice", "auto", choices=("auto", "hashed_ngrams", "text_gru", "text_transformer", "blend"), tasks=TEXTS,
        start=SCRATCH,
    ),
    Field(
        "user_column", "Users", "The column that says who.", "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "item_column", "Items", "The column that says what they took.", "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "rating_column", "Ratings",
        "The column of numbers that say how much they liked it; without one each row is an event.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "time_column", "Times",
        "The column that says when: the last items of each user are then kept for the test, else some at random.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "name_column", "Names of items",
        "The column with what people call an item.",
        "column", "", tasks=RECOMMENDING,
    ),
    Field(
        "model", "Model",
        "The kind of model that ranks items; auto trains several and keeps what does best on the validation items, and "
        "two_tower, a neural network, needs users with several items each.",
        "choice", "auto", choices=("auto", "factors", "item_weights", "two_tower", "popularity"), tasks=RECOMMENDING,
    ),
    Field(
        "factors", "Factors",
        "How many numbers stand for a user and for an item; more can tell more apart and take longer.",
        "int", 64, minimum=2, maximum=512, tasks=RECOMMENDING,
    ),
    Field(
        "regularization", "Regularisation",
        "How strongly factors are pulled towards zero, against overfitting; 0 tries several strengths.",
        "float", 0.0, minimum=0.0, maximum=10.0, tasks=RECOMMENDING,
    ),
    Field(
        "question_column", "Column of questions",
        "The column that holds the questions; automatic takes the one that the check of the data has found.",
        "column", "", tasks=ANSWERING,
    ),
    Field(
        "source_column", "Column to translate from",
        "The column that holds the texts; automatic takes the one that the check of the data has found.",
        "column", "", tasks=PAIRS,
    ),
    Field(
        "model", "Model",
        "The size of the transformer; auto takes the one that learns enough from so many pairs in minutes.",
        "choice", "auto", choices=("auto", "transformer_tiny", "transformer_small", "transformer_base"), tasks=PAIRS,
        start=SCRATCH,
    ),
    Field(
        "time_column", "Column of times",
        "The column that holds dates, times or numbered steps; automatic takes the one that the check has found.",
        "column", "", tasks=SERIES,
    ),
    Field(
        "series_column", "Column of series",
        "The column that says which series a row belongs to, such as a store; without one the table is one series.",
        "column", "", tasks=SERIES,
    ),
    Field(
        "horizon", "Horizon",
        "How many steps ahead forecasts reach; 0 chooses it from how far apart the times are.",
        "int", 0, minimum=0, maximum=1_000, tasks=SERIES,
    ),
    Field(
        "known_columns", "Known beforehand",
        "Columns whose later values are known when a forecast is made, such as holidays, apart by commas; all others "
        "count as known until the last value only.",
        "columns", "", tasks=SERIES,
    ),
    Field(
        "model", "Model",
        "What learns; auto mixes gradient boosting and a linear map as does best on the validation part.",
        "choice", "auto", choices=("auto", "gradient_boosting", "linear"), tasks=SERIES,
    ),
    Field(
        "season_length", "Season",
        "After how many steps the pattern comes again; 0 takes a day, a week or a year, whichever the times suit.",
        "int", 0, minimum=0, maximum=20_000, tasks=SERIES, advanced=True,
    ),
    Field(
        "fill_gaps", "Missing times",
        "What a step without a row counts as: the value one season before, the last one before it, or zero.",
        "choice", "season", choices=FILLINGS, tasks=SERIES,
    ),
    Field(
        "same_time", "Rows of one time",
        "What several rows of one series and time become.",
        "choice", "mean", choices=MERGINGS, tasks=SERIES, advanced=True,
    ),
    Field(
        "examples", "Most examples",
        "How many pairs of an origin and a step trees learn from at most, drawn at random.",
        "int", 100_000, minimum=1_000, maximum=5_000_000, tasks=SERIES, advanced=True,
    ),
    Field(
        "model", "Model",
        "The size of the network; auto takes the one that learns enough from so many hours of speech in minutes.",
        "choice", "auto", choices=("auto", "conformer_tiny", "conformer_small", "conformer_base"), tasks=SPEECH,
        start=SCRATCH,
    ),
    Field(
        "folds", "Folds",
        "How many models are averaged, each trained without another part of the rows; "
        "1 trains one and keeps the validation rows aside.",
        "int", 5, minimum=1, maximum=20, tasks=TABLES,
    ),
    Field(
        "epochs", "Epochs",
        "How many times training goes through all training examples.",
        "int", 30, minimum=1, maximum=10_000, tasks=WITH_EPOCHS,
    ),
    Field(
        "batch_size", "Batch size",
        "How many examples each optimiser step looks at; 0 chooses it from how many there are.",
        "int", 64, minimum=0, maximum=65_536, tasks=BY_EXAMPLES,
    ),
    Field(
        "batch_tokens", "Tokens in a batch",
        "How many pieces of words each optimiser step reads or writes at most; 0 chooses it from how many there are.",
        "int", 0, minimum=0, maximum=1_000_000, tasks=PAIRS,
    ),
    Field(
        "batch_seconds", "Seconds in a batch",
        "How many seconds of speech each optimiser step hears at most; 0 chooses it from how much there is.",
        "int", 0, minimum=0, maximum=3_600, tasks=SPEECH,
    ),
    Field(
        "learning_rate", "Learning rate",
        "The highest step size of the optimiser; lower it when training diverges.",
        "float", 0.003, minimum=1e-7, maximum=1.0,
    ),
    Field(
        "optimizer", "Optimizer",
        "The rule that turns gradients into steps; adamw is a safe choice.",
        "choice", "adamw", choices=("sgd", "adam", "adamw"),
    ),
    Field(
        "momentum", "Momentum",
        "How much of the last step sgd keeps; the adam family ignores it.",
        "float", 0.9, minimum=0.0, maximum=0.999, advanced=True,
    ),
    Field(
        "loss", "Loss",
        "What training makes small; focal looks harder at difficult examples.",
        "choice", "cross_entropy", choices=("cross_entropy", "focal", "mse"), tasks=CLASSIFICATION,
    ),
    Field(
        "loss", "Loss",
        "What training makes small: binary cross-entropy, a question of yes or no for each label.",
        "choice", "binary_cross_entropy", choices=("binary_cross_entropy",), tasks=LABELS, advanced=True,
    ),
    Field(
        "loss", "Loss",
        "What training makes small; mae and huber care less about outliers.",
        "choice", "mse", choices=("mse", "mae", "huber"), tasks=(TABULAR_REGRESSION,),
    ),
    Field(
        "scheduler", "Learning rate schedule",
        "How the learning rate falls while training goes on.",
        "choice", "cosine", choices=("constant", "cosine", "linear", "step"),
    ),
    Field(
        "warmup_ratio", "Warm-up",
        "The share of all steps during which the learning rate rises from zero.",
        "float", 0.1, minimum=0.0, maximum=0.9, advanced=True,
    ),
    Field(
        "weight_decay", "Weight decay",
        "How strongly weights are pulled towards zero, against overfitting.",
        "float", 0.01, minimum=0.0, maximum=1.0,
    ),
    Field(
        "max_grad_norm", "Gradient clipping",
        "Longer gradients are cut to this length; 0 leaves them as they are.",
        "float", 1.0, minimum=0.0, maximum=1000.0, advanced=True,
    ),
    Field(
        "mixed_precision", "Mixed precision",
        "Compute in 16 bits where that is safe; auto does where it is faster, fp16 needs a GPU.",
        "choice", "auto", choices=("auto", "no", "bf16", "fp16"), tasks=IMAGES, advanced=True,
    ),
    Field(
        "mixed_precision", "Mixed precision",
        "Compute in 16 bits where that is safe; fp16 needs a GPU.",
        "choice", "no", choices=("no", "bf16", "fp16"),
        tasks=(*TABLES, *TEXTS, *PAIRS, *ANSWERING, *RECORDINGS, *SPEECH), advanced=True,
    ),
    Field(
        "compile", "Compile",
        "Translate the model into code for this machine first; auto does where a trial shows that it pays.",
        "choice", "auto", choices=("auto", "on", "off"), tasks=IMAGES, advanced=True,
    ),
    Field(
        "batch_statistics", "Batch statistics",
        "When devices share each batch, what images are normalised by: whole, the batch of all devices, as one device "
        "would; own, each device's part of it, which is faster, and another training.",
        "choice", WHOLE, choices=(WHOLE, OWN), tasks=SPREADABLE, start=SCRATCH, advanced=True,
    ),
    Field(
        "sharding", "Dealing out",
        "How devices that train apart (local SGD) get their images: stratified, each the same mix of classes; source, "
        "images of one folder or archive together.",
        "choice", STRATIFIED, choices=(STRATIFIED, BY_SOURCE), tasks=SPREADABLE, start=SCRATCH, advanced=True,
    ),
    Field(
        "early_stopping_patience", "Early stopping",
        "Stop after this many epochs without a better validation score; 0 never stops early.",
        "int", 0, minimum=0, maximum=10_000, tasks=tuple(TASKS),
    ),
    Field(
        "ema_decay", "Weight averaging",
        "Keep a moving average of the weights with this decay and use it as the model; 0 turns it off.",
        "float", 0.0, minimum=0.0, maximum=0.99999, advanced=True,
    ),
    Field(
        "label_smoothing", "Label smoothing",
        "The share of certainty taken from each label, against overconfidence.",
        "float", 0.0, minimum=0.0, maximum=0.5, tasks=(*CLASSIFICATION, *PAIRS, *LABELS), advanced=True,
    ),
    Field(
        "class_weights", "Class weights",
        "balanced gives rare classes the same say as common ones.",
        "choice", "none", choices=("none", "balanced"), tasks=(*CLASSIFICATION, *LABELS),
    ),
    Field(
        "dropout", "Dropout",
        "The share of features left out at random in each step, against overfitting.",
        "float", 0.1, minimum=0.0, maximum=0.9, advanced=True,
    ),
    Field(
        "augmentation", "Augmentation",
        "Random changes to training images; strong also mirrors and erases parts.",
        "choice", "light", choices=("none", "light", "strong"), tasks=IMAGES,
    ),
    Field(
        "augmentation", "Augmentation",
        "Random changes to training recordings: time, speed, pitch, loudness, noise, and parts that are hidden.",
        "choice", "light", choices=("none", "light", "strong"), tasks=RECORDINGS,
    ),
    Field(
        "augmentation", "Augmentation",
        "Random changes to training recordings: pace, pitch, loudness, noise, and parts that are hidden (SpecAugment).",
        "choice", "light", choices=("none", "light", "strong"), tasks=SPEECH,
    ),
    Field(
        "case", "Capitals",
        "Whether the model learns which letters are capitals, or writes small letters only.",
        "choice", "lower", choices=("lower", "keep"), tasks=SPEECH,
    ),
    Field(
        "punctuation", "Punctuation",
        "Whether the model learns to write punctuation, which is not heard, or leaves it out.",
        "choice", "remove", choices=("remove", "keep"), tasks=SPEECH,
    ),
    Field(
        "beam_size", "Beams",
        "How many beginnings of a text are kept side by side, where that helps on validation; 1 is fastest.",
        "int", 8, minimum=1, maximum=64, tasks=SPEECH,
    ),
    Field(
        "language_model", "Language model",
        "auto learns from the transcripts which character follows which, and uses it where that helps on validation.",
        "choice", "auto", choices=("auto", "none"), tasks=SPEECH,
    ),
    Field(
        "max_seconds", "Longest recording",
        "Longer recordings are left out of training.",
        "float", 20.0, minimum=0.5, maximum=120.0, tasks=SPEECH, advanced=True,
    ),
    Field(
        "clip_seconds", "Seconds heard",
        "How long the model listens, to the loudest part of a longer recording; 0 chooses it from the data.",
        "float", 0.0, minimum=0.0, maximum=30.0, tasks=RECORDINGS,
    ),
    Field(
        "sample_rate", "Sampling rate",
        "Samples a second, half of which is the highest pitch that the model hears; auto chooses it from the data.",
        "choice", "auto", choices=("auto", "8000", "16000", "32000"), tasks=RECORDINGS, advanced=True,
    ),
    Field(
        "sample_rate", "Sampling rate",
        "Samples a second, half of which is the highest pitch that the model hears; auto chooses it from the data.",
        "choice", "auto", choices=("auto", "8000", "16000", "32000"), tasks=SPEECH, advanced=True, start=SCRATCH,
    ),
    Field(
        "image_size", "Image size",
        "Side length in pixels that images are resized to; 0 chooses it from the data, or as a checkpoint was trained.",
        "int", 0, minimum=0, maximum=512, tasks=IMAGES,
    ),
    Field(
        "embedding_size", "Embedding size",
        "How many numbers stand for a word; more can tell more apart and take longer.",
        "int", 64, minimum=4, maximum=1024, tasks=(*TEXTS, *ANSWERING), start=SCRATCH,
    ),
    Field(
        "max_characters", "Longest text",
        "Texts end after this many characters.",
        "int", 4000, minimum=16, maximum=100_000, tasks=(*TEXTS, *ANSWERING),
    ),
    Field(
        "max_words", "Most words",
        "How many words text_gru and text_transformer read of a text, or pieces of words a pretrained encoder.",
        "int", 128, minimum=4, maximum=2048, tasks=TEXTS, advanced=True,
    ),
    Field(
        "buckets", "Buckets",
        "How many different words and parts of words are told apart; 0 chooses it from the data.",
        "int", 0, minimum=0, maximum=2**20, tasks=(*TEXTS, *ANSWERING), advanced=True, start=SCRATCH,
    ),
    Field(
        "word_dropout", "Word dropout",
        "The share of words that text_gru and text_transformer do not see in each step, against overfitting.",
        "float", 0.1, minimum=0.0, maximum=0.9, tasks=TEXTS, advanced=True, start=SCRATCH,
    ),
    Field(
        "pieces", "Pieces of words",
        "How many different pieces each language's words are cut into; 0 chooses it from how much text there is.",
        "int", 0, minimum=0, maximum=64_000, tasks=PAIRS, start=SCRATCH,
    ),
    Field(
        "shared_pieces", "One table of pieces",
        "Whether both languages share their pieces, as is good where they write names alike; auto asks their scripts.",
        "choice", "auto", choices=("auto", "yes", "no"), tasks=PAIRS, advanced=True,
        start=SCRATCH,
    ),
    Field(
        "max_tokens", "Longest sentence",
        "How many pieces a sentence may have on either side; longer pairs are left out of training.",
        "int", 128, minimum=8, maximum=1024, tasks=PAIRS,
    ),
    Field(
        "beam_size", "Beams",
        "How many translations are tried side by side when the model is asked; 1 is fastest.",
        "int", 4, minimum=1, maximum=10, tasks=PAIRS,
    ),
    Field(
        "length_penalty", "Length penalty",
        "How much longer translations are favoured: 0 not at all, 1 by their mean.",
        "float", 0.6, minimum=0.0, maximum=2.0, tasks=PAIRS, advanced=True,
    ),
    Field(
        "hidden_size", "Hidden size",
        "How many units each hidden layer of the mlp has.",
        "int", 128, minimum=4, maximum=4096, tasks=TABLES, advanced=True,
    ),
    Field(
        "hidden_layers", "Hidden layers",
        "How many hidden layers the mlp has.",
        "int", 2, minimum=1, maximum=16, tasks=TABLES, advanced=True,
    ),
    Field(
        "trees", "Trees",
        "The highest number of boosting rounds of gradient_boosting.",
        "int", 300, minimum=1, maximum=10_000, tasks=TREES,
    ),
    Field(
        "tree_learning_rate", "Tree learning rate",
        "How much each tree of gradient_boosting adds.",
        "float", 0.08, minimum=0.001, maximum=1.0, tasks=TREES,
    ),
    Field(
        "max_leaf_nodes", "Leaves per tree",
        "How many leaves one tree may have; fewer make a simpler model.",
        "int", 31, minimum=2, maximum=1024, tasks=TREES,
    ),
    Field(
        "min_samples_leaf", "Rows per leaf",
        "How many rows a leaf needs at least.",
        "int", 20, minimum=1, maximum=100_000, tasks=TREES, advanced=True,
    ),
    Field(
        "l2_regularization", "L2 regularisation",
        "How strongly leaf values are pulled towards zero.",
        "float", 0.0, minimum=0.0, maximum=10_000.0, tasks=TREES, advanced=True,
    ),
    Field(
        "checkpoint_every", "Keep checkpoints",
        "Keep a checkpoint after every so many epochs (50 at most) beside the newest and the best; 0 keeps only those.",
        "int", 0, minimum=0, maximum=10_000, tasks=NETWORKS, advanced=True,
    ),
    Field(
        "seed", "Seed",
        "Fixes all random choices, so that the same seed and data give the same model.",
        "int", 0, minimum=0, maximum=2**31 - 1, tasks=tuple(TASKS), advanced=True,
    ),
)  # fmt: skip
