"""The yardstick of retraining.py: one plain script that does the same work without Ridgeway, top to bottom.

Reads the CSV, validates as many expectations with Great Expectations, trains with out-of-fold predictions, compares
with the model in production by a paired t-interval, logs model (skops, given requirements), parameters and metrics to
MLflow, registers, moves the alias. No report, no record, no orchestration, nothing that survives a crash.

    python benchmarks/plain_retraining.py FOLDER SEED
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

os.environ |= {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}

import great_expectations as gx
import great_expectations.expectations as gxe
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

logging.disable(logging.INFO)
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
frame = pd.read_csv(folder / "diabetes.csv")

context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
suite = gx.ExpectationSuite(name="s")
for name in frame.columns:
    low, high, mean, spread = frame[name].min(), frame[name].max(), frame[name].mean(), frame[name].std()
    suite.add_expectation(gxe.ExpectColumnToExist(column=name))
    suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=name))
    suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=float(low), max_value=float(high)))
    suite.add_expectation(
        gxe.ExpectColumnMeanToBeBetween(column=name, min_value=float(mean - spread), max_value=float(mean + spread))
    )
    suite.add_expectation(gxe.ExpectColumnUniqueValueCountToBeBetween(column=name, min_value=2))
suite.add_expectation(gxe.ExpectTableColumnsToMatchSet(column_set=list(frame.columns)))
suite.add_expectation(gxe.ExpectTableRowCountToBeBetween(min_value=100))
assert batch.get_batch({"dataframe": frame}).validate(context.suites.add(suite)).success

train, held_out = train_test_split(frame, test_size=0.2, random_state=0)
features = [name for name in frame.columns if name != "progression"]
model = make_pipeline(StandardScaler(), Ridge(alpha=1.0, random_state=seed))
out_of_fold = cross_val_predict(model, train[features], train["progression"], cv=10)
model.fit(train[features], train["progression"])
predictions = model.predict(held_out[features])
losses = (held_out["progression"] - predictions) ** 2

mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.set_experiment("diabetes")
client = MlflowClient()
try:
    champion = mlflow.sklearn.load_model("models:/diabetes@champion")
    reference = champion.predict(held_out[features])
except mlflow.MlflowException:
    reference = np.full(len(held_out), train["progression"].mean())
gains = (held_out["progression"] - reference) ** 2 - losses
bound = gains.mean() - stats.t.ppf(0.995, len(gains) - 1) * gains.std() / len(gains) ** 0.5

with mlflow.start_run():
    mlflow.log_params({"alpha": 1.0, "seed": seed})
    mlflow.log_metrics({"mse": float(losses.mean()), "bound": float(bound)})
    np.save(folder / "predictions.npy", np.stack([predictions, reference]))
    mlflow.log_artifact(str(folder / "predictions.npy"))
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        serialization_format="skops",
        skops_trusted_types=["numpy.dtype"],
        signature=infer_signature(train[features], predictions),
        input_example=train[features].median().to_frame().T,
        pip_requirements=["scikit-learn", "numpy", "scipy", "pandas", "skops"],
    )
version = mlflow.register_model(info.model_uri, "diabetes")
client.set_registered_model_alias("diabetes", "challenger", version.version)
