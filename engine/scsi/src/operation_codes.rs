//! REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.

use units::{len_u16, len_u32};

use crate::command::{OperationCodesReport, ReportingOptions};
use crate::operations::{self, CdbFormat};
use crate::plan::truncated;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// The parameter data (SPC-4, REPORT SUPPORTED OPERATION CODES), cut to the allocation length.
///
/// # Errors
/// INVALID FIELD IN CDB if the reporting options ask for a service action where there is none,
/// or for none where there is one.
pub(crate) fn report(request: &OperationCodesReport, lu: &UnitModel) -> Result<Vec<u8>, Sense> {
    let data = match request.options {
        ReportingOptions::All => all(request.timeouts, lu),
        ReportingOptions::OperationCode => one(operation_code_only(request)?, request, lu),
        ReportingOptions::ServiceAction => one(with_service_action(request)?, request, lu),
        ReportingOptions::Either => one(either(request), request, lu),
    };
    Ok(truncated(data, request.allocation_length))
}

/// Every command that the logical unit has (SPC-4, all_commands parameter data format).
fn all(timeouts: bool, lu: &UnitModel) -> Vec<u8> {
    let mut descriptors = Vec::new();
    for operation in operations::cdb_formats().iter().filter(|one| one.is_supported(lu)) {
        let service_action = operation.service_action;
        let flags = (u8::from(timeouts) << 1) | u8::from(service_action.is_some());
        descriptors.extend_from_slice(&[operation.operation_code(), 0, 0]);
        descriptors.extend_from_slice(&[service_action.unwrap_or(0), 0, flags]);
        descriptors.extend_from_slice(&cdb_length(operation));
        if timeouts {
            descriptors.extend_from_slice(&TIMEOUTS);
        }
    }
    // At most a hundred descriptors of 20 bytes.
    let mut data = len_u32(descriptors.len()).to_be_bytes().to_vec();
    data.append(&mut descriptors);
    data
}

/// One command, or that it is not supported (SPC-4, one_command parameter data format).
fn one(operation: Option<&CdbFormat>, request: &OperationCodesReport, lu: &UnitModel) -> Vec<u8> {
    let Some(operation) = operation.filter(|one| one.is_supported(lu)) else {
        return vec![0, NOT_SUPPORTED, 0, 0];
    };
    let [high, low] = cdb_length(operation);
    let support = SUPPORTED_BY_STANDARD | (u8::from(request.timeouts) << 7);
    let mut data = vec![0, support, high, low];
    data.extend_from_slice(operation.usage());
    if request.timeouts {
        data.extend_from_slice(&TIMEOUTS);
    }
    data
}

/// 001b: an operation code that has service actions is an error.
fn operation_code_only(
    request: &OperationCodesReport,
) -> Result<Option<&'static CdbFormat>, Sense> {
    match operations::with_operation_code(request.operation_code).first() {
        Some(operation) if operation.service_action.is_some() => {
            Err(Sense::invalid_field_in_cdb(2, Some(2)))
        }
        found => Ok(found),
    }
}

/// 010b: an operation code that has no service actions is an error.
fn with_service_action(
    request: &OperationCodesReport,
) -> Result<Option<&'static CdbFormat>, Sense> {
    let operations = operations::with_operation_code(request.operation_code);
    if operations.first().is_some_and(|operation| operation.service_action.is_none()) {
        return Err(Sense::invalid_field_in_cdb(2, Some(2)));
    }
    Ok(operations.iter().find(|operation| has_service_action(operation, request)))
}

/// 011b: an operation code without service actions requires service action zero.
fn either(request: &OperationCodesReport) -> Option<&'static CdbFormat> {
    operations::with_operation_code(request.operation_code).iter().find(|operation| match operation
        .service_action
    {
        Some(_) => has_service_action(operation, request),
        None => request.service_action == 0,
    })
}

fn has_service_action(operation: &CdbFormat, request: &OperationCodesReport) -> bool {
    operation.service_action.is_some_and(|action| u16::from(action) == request.service_action)
}

fn cdb_length(operation: &CdbFormat) -> [u8; 2] {
    // A CDB has at most 16 bytes.
    len_u16(operation.usage().len()).to_be_bytes()
}

/// The parameter data (SPC-4, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS), cut to the allocation
/// length: ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET and TARGET RESET. In the
/// extended form no timeouts are reported.
pub(crate) fn task_management_functions(extended: bool, allocation_length: u32) -> Vec<u8> {
    let data = if extended {
        vec![TASK_MANAGEMENT, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    } else {
        vec![TASK_MANAGEMENT, 0, 0, 0]
    };
    truncated(data, allocation_length)
}

/// ATS 80h, ATSS 40h, CTSS 10h, LURS 08h and TRS 02h.
const TASK_MANAGEMENT: u8 = 0xda;

/// SUPPORT 001b.
const NOT_SUPPORTED: u8 = 0x01;
/// SUPPORT 011b: conforms to the standard.
const SUPPORTED_BY_STANDARD: u8 = 0x03;
/// A command timeouts descriptor (SPC-4) that gives no times: zero is "not reported".
const TIMEOUTS: [u8; 12] = [0x00, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
