//! A view that planners do not look into.
//!
//! DataFusion puts the plan of a view in the place of its name. Where views without a table read others without one, each several
//! times, a plan would grow with the product of these: of a lake whose job leaves most views out, to gigabytes. A view in this wrapping is planned by
//! itself, and only where a query reads it.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::TryStreamExt;

/// The wrapping.
#[derive(Debug)]
pub struct Opaque(pub Arc<dyn TableProvider>);

// The trait's method is what `async_trait` makes of it.
impl TableProvider for Opaque {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn scan<'view, 'session, 'projection, 'filters, 'scan>(
        &'view self,
        session: &'session dyn Session,
        projection: Option<&'projection Vec<usize>>,
        filters: &'filters [Expr],
        limit: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'scan>>
    where
        'view: 'scan,
        'session: 'scan,
        'projection: 'scan,
        'filters: 'scan,
        Self: 'scan,
    {
        Box::pin(async move {
            let plan = self.0.scan(session, projection, filters, limit).await?;
            let (schema, parts) = (plan.schema(), vec![Arc::new(Planned(plan)) as Arc<dyn PartitionStream>]);
            Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, None, false, None)?) as Arc<dyn ExecutionPlan>)
        })
    }
}

/// What has been planned by itself: a plan that it becomes a part of must not be made of it a second time.
#[derive(Debug)]
struct Planned(Arc<dyn ExecutionPlan>);

impl PartitionStream for Planned {
    fn schema(&self) -> &SchemaRef {
        self.0.properties().equivalence_properties().schema()
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = execute_stream(Arc::clone(&self.0), task);
        let schema = self.0.schema();
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(async { rows }).try_flatten()))
    }
}
